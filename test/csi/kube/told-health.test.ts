/** Risk: a change of health is told twice, too often, or not at all. */
import t from 'tap'
import { Random } from '../../sim/random.ts'
import { HEALTH_ORDER } from '../../../engine/control/health.ts'
import { ToldHealth, TOLD_EVERY_MS } from '../../../csi/kube/health/told-health.ts'

t.test('the worst first, and whether it is worse', (t) => {
  const told = new ToldHealth()
  const volumes = [
    { id: 'a', health: 'degraded' }, { id: 'b', health: 'faulted' }, { id: 'c', health: 'healthy' },
  ] as const
  t.match(told.due(volumes, 0), [{ volume: { id: 'b' }, isWorse: true }, { volume: { id: 'a' }, isWorse: true }])
  told.tell('b', { health: 'faulted', atMs: 0 })
  const better = { id: 'b', health: 'at-risk' } as const
  t.equal(told.dueOf(better, TOLD_EVERY_MS - 1), undefined)
  t.match(told.dueOf(better, TOLD_EVERY_MS), { isWorse: false })
  t.same(told.due([], 0), [])
  t.match(told.dueOf(better, 1), { isWorse: true }, 'what is gone is forgotten')
  t.end()
})

t.test('whatever happens, the last state comes through, and none too often', (t) => {
  const random = new Random('told health')
  for (let round = 0; round < 200; round++) {
    const told = new ToldHealth()
    const toldAt: Array<{ atMs: number; health: string }> = []
    let health = HEALTH_ORDER[0]!
    let nowMs = 0
    const look = (): void => {
      nowMs += 5000
      if (told.dueOf({ id: 'v', health }, nowMs) === undefined) return
      told.tell('v', { health, atMs: nowMs })
      toldAt.push({ atMs: nowMs, health })
    }
    for (let i = 0; i < 60; i++) {
      if (random.chance(0.3)) health = random.pick(HEALTH_ORDER)
      look()
    }
    for (let i = 0; i < 6; i++) look()
    t.equal(toldAt.at(-1)?.health ?? 'healthy', health)
    for (const [index, { atMs, health: one }] of toldAt.entries()) {
      const before = toldAt[index - 1]
      if (before === undefined) continue
      t.ok(atMs - before.atMs >= TOLD_EVERY_MS && before.health !== one)
    }
  }
  t.end()
})
