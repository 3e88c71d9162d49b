/** Risk: a process that is told to end while it does something sits out the pause behind it first. */
import t from 'tap'
import { pause } from '../../cluster/pause.ts'

const LONG_MS = 2 ** 31 - 1

t.test('a pause ends with its signal', async (t) => {
  const told = new AbortController()
  const paused = pause(LONG_MS, told.signal)
  told.abort()
  await paused
  await pause(LONG_MS, told.signal)
  t.pass('also one that begins behind it')
})

t.test('a pause that is over before it begins is none', async (t) => {
  const warned: string[] = []
  const warn = ({ name }: Error): void => void warned.push(name)
  process.on('warning', warn)
  await pause(-5)
  await new Promise((resolve) => setImmediate(resolve))
  process.off('warning', warn)
  t.same(warned, [])
})
