/**
 * Health of a volume (SPEC.md section 4): the worst that applies, and a sentence that says why.
 */
import type { VolumeHealth } from '../volume/volume-spec.ts'
import { seconds } from './amounts.ts'
import type { VolumeView } from './cluster.ts'
import { conditionOf, isCounted } from './copy-facts.ts'
import type { CopyFact } from './copy-facts.ts'
import { wantedCopies } from './volume-record.ts'

export interface Health {
  health: VolumeHealth
  /** Empty when healthy. */
  healthReason: string
}

/** Best first. */
export const HEALTH_ORDER: readonly VolumeHealth[] = ['healthy', 'degraded', 'at-risk', 'suspended', 'faulted']

/** @param facts  empty without a configuration */
export function healthOf(volume: VolumeView, facts: readonly CopyFact[]): Health {
  const { config, record } = volume
  if (config === undefined) return lacksConfiguration(volume)
  const set = facts.filter(({ isInSync }) => isInSync)
  const complete = set.filter(isCounted)
  const fault = faultOf(set, complete)
  if (fault !== undefined) return { health: 'faulted', healthReason: fault }
  const held = whyHeld(facts)
  if (held !== undefined) return { health: 'suspended', healthReason: held }
  const wanted = record === undefined ? config.inSync.length : wantedCopies(record)
  if (complete.length >= wanted) return { health: 'healthy', healthReason: '' }
  const others = facts.filter((fact) => !isCounted(fact)).map(conditionOf)
  const count = `${complete.length} of ${wanted} copies ${complete.length === 1 ? 'is' : 'are'} in sync`
  const reason = others.length === 0 ? `${count}; more have not been placed` : `${count}: ${others.join(', ')}`
  return { health: complete.length <= 1 ? 'at-risk' : 'degraded', healthReason: reason }
}

function lacksConfiguration({ reportedOn, creating, record }: VolumeView): Health {
  if (record === undefined) return { health: 'faulted', healthReason: 'the cluster store knows nothing of it' }
  const nodes = [...creating.keys()].filter((node) => !reportedOn.has(node))
  const waits = nodes.length === 0 ? '' : `: ${nodes.join(', ')} make a copy`
  return { health: 'suspended', healthReason: `it is being created${waits}` }
}

/** H1: nobody who may lead has all of it, and nobody who is away might have. */
function faultOf(set: readonly CopyFact[], complete: readonly CopyFact[]): string | undefined {
  if (complete.length > 0 || set.some(({ presence }) => presence === 'away')) return undefined
  // A copy that is filled in place gets what it lacks from one that is complete.
  return `no copy has all of it: ${set.map(conditionOf).join(', ')}`
}

/** The node of a primary that is not there, while nobody else may lead; undefined: it is there, or another may. */
export function lonePrimary(facts: readonly CopyFact[]): string | undefined {
  const primary = facts.find(({ isPrimary }) => isPrimary)!
  const isThere = primary.isVouched || (primary.status !== undefined && primary.presence !== 'away')
  return isThere || facts.some(({ isInSync, isPrimary }) => isInSync && !isPrimary) ? undefined : primary.node
}

function whyHeld(facts: readonly CopyFact[]): string | undefined {
  const primary = facts.find(({ isPrimary }) => isPrimary)!
  const { node, status, presence, isMissed, awayMs } = primary
  if (status === undefined || presence === 'away') {
    if (primary.isVouched) return undefined
    const isOnly = lonePrimary(facts) !== undefined
    const then = isOnly ? 'no other copy has all of it' : 'another copy takes over as soon as it may'
    return `its primary is not there: ${conditionOf(primary)}; ${then}`
  }
  if (isMissed) {
    return `its primary on ${node} has been silent for ${seconds(awayMs)}; another copy takes over as soon as it may`
  }
  if (status.held !== '') return status.held
  switch (status.role) {
    case 'primary':
    case 'handing-over':
      return undefined
    case 'reconciling':
      return `its primary on ${node} brings the other copies in line`
    case 'fenced':
      return `its primary on ${node} failed: ${status.failure}; another copy takes over as soon as it may`
    default:
      return `its primary on ${node} does not lead yet (${status.role})`
  }
}
