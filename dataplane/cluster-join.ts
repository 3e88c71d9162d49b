/**
 * How a daemon comes into its cluster, before it opens anything: the store is asked which cluster it is, and the node
 * takes its name there. While the store does not answer it waits and says so, however long that takes: what nobody has
 * read may have changed. A node whose cluster the store does not know waits until that was rebuilt
 * (`waiting-node.ts`).
 */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ClusterStore, StoreAnswer } from '../cluster/store/cluster-store.ts'
import { connectClusterStore } from '../cluster/store/connect-store.ts'
import type { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { agreeOnClusterId, readCluster } from '../cluster/membership/cluster-id.ts'
import { readRegistration, registerNode, zonesOfOthers } from '../cluster/membership/registration.ts'
import { nextStartNumber } from '../cluster/membership/start-number.ts'
import { someOf } from '../engine/control/amounts.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import type { LogPort } from '../engine/ports.ts'
import type { DisksDescription } from './disk-description.ts'
import { ownerOfDisks } from './disk-owner.ts'
import { keepStoreMemory, readMet, readStoreMemory } from './known-store.ts'
import type { StoreMemory } from './known-store.ts'
import type { ClusterConfig, NodeConfig } from './node-config.ts'
import { identityIn, keepIdentity, knownIdentity, replaceFile } from './node-folder.ts'
import type { NodeIdentity, NodePaths } from './node-folder.ts'
import { checkTlsCluster, storeTlsOf } from './node-tls.ts'
import { checkEra, waitForRebuild } from './waiting-node.ts'

const RETRY_MS = 500
const ZONES_SHOWN = 5

export interface JoinedCluster {
  store: ClusterStore
  /** Where it is, for a sentence. */
  address: string
  clusterId: string
  nodeId: string
  /** Of this start, as no other in the cluster (cluster/membership/start-number.ts). */
  startNumber: number
  /** How often its store was rebuilt. */
  era: number
  config: ClusterConfig
}

export interface JoinOptions {
  config: NodeConfig
  cluster: ClusterConfig
  /** Unset: plain text. */
  tls: TlsFolder | undefined
  paths: NodePaths
  log: LogPort
  /** Whether its disks may be that node's; nothing is made or written. @throws HoldfastError why not */
  check(identity: NodeIdentity): void
  /** What the disks of the node have; nothing is open yet. */
  describe(identity: NodeIdentity): Promise<DisksDescription>
  /** A sentence for whoever looks on, of what is waited for. */
  say(sentence: string): void
}

type Answered = <T>(ask: () => Promise<StoreAnswer<T>>) => Promise<T>

/** @throws HoldfastError when it cannot be a node of that cluster */
export async function joinCluster(options: JoinOptions): Promise<JoinedCluster> {
  const { config, cluster, tls, paths, log, say, check } = options
  const { name, zone } = config
  let isWaiting = false
  const answered: Answered = async (ask) => {
    for (;;) {
      const answer = await ask()
      if (answer.ok) {
        if (isWaiting) log.event('info', 'the cluster store answers', { store: cluster.store })
        isWaiting = false
        return answer.value
      }
      if (!ERRORS[answer.error.code].retryable) throw answer.error
      if (!isWaiting) {
        isWaiting = true
        log.event('warn', 'waiting for the cluster store', { reason: answer.error.message })
        say(`node ${name} waits for its cluster store: ${answer.error.message}`)
      }
      await sleep(RETRY_MS)
    }
  }
  rmSync(paths.waiting, { force: true })
  const memory = readStoreMemory(paths.knownStore)
  const { store, era } = await knownStore(options, memory, answered)
  const ownId = tls?.identity.clusterId ?? randomBytes(16).toString('hex')
  const wished = (await answered(() => readCluster(store)))?.id ?? ownId
  checkTlsCluster(tls, wished)
  const identity = identityIn(paths.identity, { clusterId: wished, store: cluster.store })
  const { nodeId } = identity
  const former = await answered(() => readRegistration(store, { name, nodeId }))
  // Who is refused leaves nothing behind: no name in the cluster, and no cluster in the folder.
  if (former.node === undefined) check(identity)
  if (zone !== '' && former.node?.zone !== zone) checkZone(options, await answered(() => zonesOfOthers(store, name)))
  const clusterId = await answered(() => agreeOnClusterId(store, wished))
  if (knownIdentity(paths.identity) === undefined) keepIdentity(paths.identity, { clusterId, nodeId })
  await answered(async () => {
    const error = await registerNode(store, { name, nodeId, zone })
    return error === undefined ? { ok: true, value: undefined } : { ok: false, error }
  })
  const known = { former: memory.startNumber, address: cluster.store }
  const startNumber = await answered(() => nextStartNumber(store, known))
  keepStoreMemory(paths.knownStore, store, { era, startNumber })
  return { store, address: cluster.store, clusterId, nodeId, startNumber, era, config: cluster }
}

/** A zone that nobody else is in may be a slip, after which copies would be apart on paper only: it has to be said. */
function checkZone({ config, log }: JoinOptions, others: ReadonlyMap<string, string>): void {
  const { name, zone } = config
  const zones = [...new Set(others.values())]
  if (others.size === 0 || zones.includes(zone)) return
  const named = zones.filter((other) => other !== '').sort()
  const known = named.length === 0 ? 'have no zone' : `are in ${someOf(named, ZONES_SHOWN)}`
  if (config.isFirstInZone !== true) throw new HoldfastError('zone-unknown', { name, zone, known })
  log.event('info', 'the first node in its zone', { zone, others: named.join(', ') })
}

/**
 * A client of the store that has our cluster: the one that the node knows, or one that was rebuilt with what it has; at
 * the first start whichever it is.
 */
async function knownStore(
  options: JoinOptions, memory: StoreMemory, answered: Answered,
): Promise<{ store: ClusterStore; era: number }> {
  const { config, cluster: { store: address }, tls: nodeTls, paths, describe } = options
  const tls = storeTlsOf(nodeTls)
  const { name, zone } = config
  const kept = knownIdentity(paths.identity)
  const known = connectClusterStore({ addresses: address, tls, known: memory.known })
  let refusal: HoldfastError | undefined
  const found = await answered(() => readCluster(known)).catch((error: unknown) => {
    if (!isStrange(error)) throw error
    refusal = error
  })
  if (refusal === undefined && found !== undefined && (kept?.clusterId !== found.id || memory.era === found.era)) {
    return { store: known, era: found.era }
  }
  known.close()
  const store = connectClusterStore({ addresses: address, tls })
  const cluster = await answered(() => readCluster(store))
  // Only where no cluster is that could say who it is.
  const isNew = cluster === undefined && refusal === undefined
  const mine = kept ?? (isNew ? ownerOfDisks(config.disks, name, address) : undefined)
  const isRebuilt = cluster !== undefined && cluster.id === mine?.clusterId && cluster.era !== memory.era
  if (refusal !== undefined && (mine === undefined || (cluster !== undefined && !isRebuilt))) throw refusal
  if (mine === undefined) return { store, era: cluster?.era ?? 0 }
  const { clusterId, nodeId } = mine
  const { era, startNumber } = memory
  if (cluster !== undefined) checkEra(cluster, { address, name, clusterId, era })
  const { disks, copies } = await describe(mine)
  // A node that was by itself until now: no cluster is made for it that it would not belong to.
  if (kept !== undefined && memory.known === undefined && copies.length === 0) {
    const what = `folder ${paths.folder}`
    throw new HoldfastError('cluster-other', { what, known: clusterId, store: address, found: 'none yet' })
  }
  const node = { name, nodeId, clusterId, zone, startNumber, era, met: readMet(paths.met), disks, copies }
  replaceFile(paths.waiting, `${JSON.stringify({ store: address })}\n`)
  const rebuilt = await waitForRebuild({ store, address, node, answered, say: options.say })
  if (kept === undefined) keepIdentity(paths.identity, mine)
  keepStoreMemory(paths.knownStore, store, { era: rebuilt.era, startNumber })
  rmSync(paths.waiting, { force: true })
  return { store, era: rebuilt.era }
}

/** Another store, or one that went back: perhaps it takes the place of ours. */
const isStrange = (error: unknown): error is HoldfastError =>
  error instanceof HoldfastError && (error.code === 'store-replaced' || error.code === 'store-behind')
