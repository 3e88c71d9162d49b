/**
 * Requests of one client at the end of a run, one after the other, that have to be answered so and soon.
 */
import { BLOCK_BYTES } from '../../../engine/units.ts'
import type { ClientOperation } from '../../../engine/replication/request-parts.ts'
import type { SimClient } from './sim-client.ts'
import type { World } from './world.ts'

export const read = (lba: number): ClientOperation =>
  ({ type: 'read', offsetBytes: lba * BLOCK_BYTES, lengthBytes: BLOCK_BYTES })

/** All but the edges of a block. */
export const narrow = (lba: number): ClientOperation => ({
  type: 'write', offsetBytes: lba * BLOCK_BYTES + 512, lengthBytes: BLOCK_BYTES - 1024, data: undefined, fua: false,
})

/** A change of a whole block, which is read as it should be afterwards. */
export function overwrite(world: World, client: SimClient, lba: number, how: 'write' | 'trim'): void {
  const range = { offsetBytes: lba * BLOCK_BYTES, lengthBytes: BLOCK_BYTES, fua: false }
  const change: ClientOperation =
    how === 'write' ? { type: 'write', data: undefined, ...range } : { type: 'trim', ...range }
  const [written = 0] = expect(world, client, change, 'ok')
  expect(world, client, read(lba), 'ok', written)
}

/** A request is answered so, soon; a read with this stamp. @returns what it wrote */
export function expect(
  world: World, client: SimClient, request: ClientOperation, wanted: string, stamp?: number,
): readonly number[] {
  const { result, seen, stamps } = ask(world, client, request)
  if (result !== wanted || (stamp !== undefined && seen !== stamp)) {
    const what = `${request.type}${request.type === 'flush' ? '' : ` of block ${request.offsetBytes / BLOCK_BYTES}`}`
    const message = `at the end a ${what} was ${result} ${seen ?? ''}, not ${wanted} ${stamp ?? ''}`
    world.judge.report([{ checker: 'lost-blocks', message }])
  }
  return stamps
}

interface Asked {
  result: string
  /** By a read. */
  seen: number | undefined
  stamps: readonly number[]
}

/** Where requests may fail in time it is asked again. */
export function ask(world: World, client: SimClient, request: ClientOperation): Asked {
  const untilMs = world.clock.nowMs() + patienceMs(world)
  for (;;) {
    const { tag, stamps } = client.begin(request)
    const answer = (): string | undefined => world.users.heard.get(`${client.name} ${tag}`)
    while (answer() === undefined && world.clock.nowMs() < untilMs && world.clock.step());
    const result = answer() ?? 'not answered'
    if (result === 'timeout' && world.clock.nowMs() < untilMs) continue
    const isIt = (id: string): boolean => id.endsWith(`#${tag}`)
    const seen = world.judge.operations.findLast((op) => op.client === client.name && isIt(op.request))?.stamps[0]
    return { result, seen: request.type === 'read' ? seen : undefined, stamps }
  }
}

/** Long enough for whatever has to happen once. */
export function patienceMs({ swarm: { graceMs, resendMs, evictAfterMs, retryMs, network, disk } }: World): number {
  return 1000 + 20 * (graceMs + resendMs + evictAfterMs + retryMs + network.delayMs[1] + disk.syncMs[1])
}
