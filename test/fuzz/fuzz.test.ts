/**
 * Risk: bytes nobody thought of. Every target of `npm run fuzz` for 10^5 executions in all; and bugs that are planted,
 * each of a kind that the search has to find, or else its "0 crashes" means nothing.
 */
// test-timeout-seconds: 900
import { spawn } from 'node:child_process'
import path from 'node:path'
import t from 'tap'

const ROOT = path.resolve(import.meta.dirname, '../..')
t.setTimeout(900_000)

async function fuzz(...words: readonly string[]): Promise<{ text: string; code: number }> {
  const child = spawn(process.execPath, ['test/fuzz.ts', ...words], {
    cwd: ROOT, env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' }, stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  const code = await new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? -1)))
  return { text, code }
}

t.test('all targets', async (t) => {
  const { text, code } = await fuzz('--executions', '100000', '--jobs', '2', '--seed', '7')
  t.equal(code, 0, text)
  t.match(text, /^100000 executions in \d+ s; \d+ of \d+ branches \(\d+ %\); 0 crashes$/m)
  t.comment(text)
})

const PLANTED = [
  ['nested', /nested: Error: planted/],
  ['endless', /endless: it did not end within 3000 ms of the processor/, '--hung-ms', '3000'],
  ['quadratic', /quadratic: it took \d+ ms of the processor/],
  ['greedy', /greedy: (?:the thread ended: .*memory|it took \d+ ms|it did not end)/],
] as const

for (const [name, problem, ...words] of PLANTED) {
  t.test(`a planted bug is found: ${name}`, async (t) => {
    const dir = path.join('test', 'fuzz', 'planted')
    const { text, code } = await fuzz(name, '--targets', dir, '--executions', '300000', ...words)
    t.equal(code, 1, text)
    t.match(text, problem)
    t.match(text, /; 1 crashes$/m)
  })
}
