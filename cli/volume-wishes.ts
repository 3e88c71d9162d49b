/** `holdfast volume restore|purge|replicas|move|promote|attach|detach|scrub`, `explain`: what becomes of a volume. */
import type { Explanation, Volume } from '../cluster/api/volume-messages.ts'
import type { ForcePromotionRequest, MoveVolumeRequest } from '../cluster/api/volume-wish-messages.ts'
import { usageError } from './arguments.ts'
import type { Invocation } from './command.ts'
import { withDaemon } from './endpoint.ts'
import { describeAttach } from './volume.ts'
import { EXIT_OK, fields, table } from './output.ts'

const FOLLOW = '`holdfast explain'

export async function restoreVolume({ arguments: given, output }: Invocation): Promise<number> {
  const volume = await withDaemon(given, (daemon) => daemon.restoreVolume({ name: given.positionals[0]! }))
  output.result(volume, () => [`volume ${volume.name} is back as it was`])
  return EXIT_OK
}

export async function purgeVolumes({ arguments: given, output }: Invocation): Promise<number> {
  const purged = await withDaemon(given, async (daemon) => {
    const done: Array<{ name: string; purged: boolean }> = []
    for (const name of given.positionals) {
      await daemon.purgeVolume({ name })
      done.push({ name, purged: true })
    }
    return done
  })
  output.result(purged, () => purged.map(({ name }) =>
    `volume ${name} is erased in the background; there is no way back`))
  return EXIT_OK
}

export async function setReplicas({ arguments: given, output }: Invocation): Promise<number> {
  const [name, text] = given.positionals as [string, string]
  if (!/^\d{1,2}$/.test(text)) throw usageError(`${text} is no number of replicas`, 'give 0 to 5')
  const parameters = { replicas: text }
  const volume = await withDaemon(given, (daemon) => daemon.modifyVolume({ name, parameters }))
  output.result(volume, () => [
    `volume ${name} is wished with ${volume.replicas} replicas; ${FOLLOW} ${name}\` shows how it gets there`,
  ])
  return EXIT_OK
}

const toOf = (to: string | undefined): string => {
  if (to === undefined) throw usageError('--to is missing', 'name a node: --to n2')
  return to
}

async function move({ arguments: given, output }: Invocation, request: MoveVolumeRequest): Promise<number> {
  const volume: Volume = await withDaemon(given, (daemon) => daemon.moveVolume(request))
  const what = request.what === 'primary' ? 'the lead' : 'a copy'
  output.result(volume, () => [
    `${what} of volume ${volume.name} goes to ${request.to}; ${FOLLOW} ${volume.name}\` shows how far it is`,
  ])
  return EXIT_OK
}

export function moveVolume(invocation: Invocation): Promise<number> {
  const { arguments: given } = invocation
  const from = given.text('from') ?? ''
  return move(invocation, { name: given.positionals[0]!, what: 'copy', to: toOf(given.text('to')), from })
}

export function promoteVolume(invocation: Invocation): Promise<number> {
  const { arguments: given } = invocation
  const name = given.positionals[0]!
  const to = toOf(given.text('to'))
  const confirm = given.text('confirm')
  if (given.flag('force')) return forcePromotion(invocation, { name, to, confirm: confirm ?? '' })
  if (confirm !== undefined) throw usageError('--confirm goes with --force', 'leave it out: nothing is lost')
  return move(invocation, { name, what: 'primary', to, from: '' })
}

async function forcePromotion(
  { arguments: given, output }: Invocation, request: ForcePromotionRequest,
): Promise<number> {
  const volume = await withDaemon(given, (daemon) => daemon.forcePromotion(request))
  const { name, to } = request
  output.result(volume, () => [
    `volume ${name} is led by ${to} with what it has, and by nobody else; ${FOLLOW} ${name}\` shows how it goes on`,
  ])
  return EXIT_OK
}

export async function attachVolume({ arguments: given, output }: Invocation): Promise<number> {
  const node = toOf(given.text('to'))
  const request = { name: given.positionals[0]!, node, mode: given.text('mode') ?? '', force: given.flag('force') }
  const volume = await withDaemon(given, (daemon) => daemon.attachVolume(request))
  const { name, attach, nbd } = volume
  output.result(volume, () => [
    `volume ${name} is attached: ${describeAttach(attach)}`,
    ...nbd.map((uri) => `  ${uri}`),
  ])
  return EXIT_OK
}

export async function detachVolume({ arguments: given, output }: Invocation): Promise<number> {
  const [from, all] = [given.text('from'), given.flag('all')]
  if (all && from !== undefined) throw usageError('--all and --from are both given', 'leave one of them out')
  const request = { name: given.positionals[0]!, node: from ?? '', all }
  const volume = await withDaemon(given, (daemon) => daemon.detachVolume(request))
  const { name, attach } = volume
  output.result(volume, () => [`volume ${name} is detached; it is attached now: ${describeAttach(attach)}`])
  return EXIT_OK
}

export async function scrubVolume({ arguments: given, output }: Invocation): Promise<number> {
  const request = { name: given.positionals[0]!, isDeep: given.flag('deep') }
  const answer = await withDaemon(given, (daemon) => daemon.scrubVolume(request))
  const { nodes, refused } = answer
  const what = request.isDeep ? 'every block of' : 'the map of'
  output.result(answer, () => [
    nodes.length === 0
      ? `no copy of volume ${request.name} is looked at`
      : `${what} volume ${request.name} is looked at on ${nodes.join(', ')}: see \`holdfast volume inspect\``,
    ...refused.map(({ node, why }) => `not on ${node}: ${why}`),
  ])
  return EXIT_OK
}

export async function hydrateVolume({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const answer = await withDaemon(given, (daemon) => daemon.hydrateVolume({ name }))
  const told = answer.copies.filter(({ why }) => why === '')
  const left = told.filter(({ sharedSlices }) => sharedSlices > 0)
  output.result(answer, () => [
    left.length === 0
      ? `no copy of volume ${name} that was asked shares a block`
      : `copies of volume ${name} get blocks of their own in the background; ask again for what is left`,
    ...left.map(({ node, sharedSlices }) => `  on ${node}: ${sharedSlices} slice(s) of 1 GiB`),
    ...answer.copies.filter(({ why }) => why !== '').map(({ node, why }) => `not on ${node}: ${why}`),
  ])
  return EXIT_OK
}

function page(name: string, explanation: Explanation): string[] {
  const { health, healthReason, next, wished, placed, copies, others } = explanation
  return [
    ...fields([
      ['volume', name],
      ['health', healthReason === '' ? health : `${health}: ${healthReason}`],
      ['copies', `${placed} of ${wished} that are wished have a place`],
      ['next', next === '' ? 'nothing is waited for' : next],
    ]),
    '',
    ...table(['NODE', 'COPY', 'WHY'], [
      ...copies.flatMap(({ node, role, condition, leaving, reasons }) => {
        const words = [condition, ...(leaving === '' ? [] : [`it leaves: ${leaving}`]), ...reasons]
        return words.map((word, index) => (index === 0 ? [node, role, word] : ['', '', word]))
      }),
      ...others.map(({ node, why }) => [node, 'none', why]),
    ]),
  ]
}

export async function explainVolume({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const explanation = await withDaemon(given, (daemon) => daemon.explainVolume({ name }))
  output.result(explanation, () => page(name, explanation))
  return EXIT_OK
}
