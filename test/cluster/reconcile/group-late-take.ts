/**
 * A TAKE that comes when its attempt was undone long ago, while its hold is in force as if no time had passed: what is
 * left of it then.
 */
import type { Test } from 'tap'
import { B, groupRequest, groupWorld, never } from './group-world.ts'

/** @returns how the TAKE ended, and what both volumes have afterwards */
export async function takeLate(t: Test): Promise<{ end: string; snapshots: string[][] }> {
  const world = await groupWorld(t)
  const { cluster, elected, meets, records, snapshots, volumes } = world
  const { name, volumes: api } = elected()
  let late: (() => Promise<unknown>) | undefined
  meets(async ({ call, volumeId, go }) => {
    if (call !== 'take' || volumeId !== B) return go()
    late = go
    cluster.kill(name)
    return never()
  })
  api.createGroup(groupRequest('one', 1)).catch(() => undefined)
  await cluster.until('it is on its way', () => late !== undefined)
  const { hold } = volumes.b
  meets(({ go }) => go())
  await cluster.until('it is undone', async () => (await records()).length === 0)
  volumes.b.hold = hold
  const end = await late!().then(() => 'taken', ({ code }) => code as string)
  return { end, snapshots: snapshots() }
}
