/**
 * Risk: bytes nobody thought of. Every target of `npm run fuzz` for 10^5 executions in all; and bugs that are planted,
 * each of a kind that the search has to find, or else its "0 crashes" means nothing.
 */
// test-timeout-seconds: 900
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import t from 'tap'
import { temporaryFolder } from '../temporary-folder.ts'
import { EVERYBODYS_MAX, Shares } from './shares.ts'
import { STOP_SIGNALS } from './stop-signals.ts'

const ROOT = path.resolve(import.meta.dirname, '../..')
t.setTimeout(900_000)

/** Each of its inputs takes a hundred times what others do: it has its corpus, and few besides. */
const MACHINE = 'peer-machine'

function start(words: readonly string[], options: { detached?: boolean } = {}) {
  const child = spawn(process.execPath, ['test/fuzz.ts', ...words],
    { ...options, cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  const ended = new Promise<{ text: string; code: number }>((resolve) =>
    child.on('close', (status) => resolve({ text, code: status ?? -1 })))
  return { child, ended }
}

const fuzz = (...words: readonly string[]): Promise<{ text: string; code: number }> => start(words).ended

t.test('all targets', async (t) => {
  const others = (await fuzz('--list')).text.trim().split('\n').filter((name) => name !== MACHINE)
  const runs = [[...others, '--executions', '99900'], [MACHINE, '--executions', '100']] as const
  for (const words of runs) {
    const { text, code } = await fuzz(...words, '--jobs', '2', '--seed', '7')
    t.equal(code, 0, text)
    t.match(text, /^\d+00 executions in \d+ s; \d+ of \d+ branches \(\d+ %\); 0 crashes$/m)
    t.comment(text)
  }
})

t.test('what was done is kept, and counts for the next run of the same text', async (t) => {
  const state = path.join(temporaryFolder(t), 'state')
  const words = ['nbd-tls-gate', 'peer-preface', '--state', state]
  const { child, ended } = start([...words, '--executions', '1000000000'])
  // A first slice is small, so it ends; the second is ended by the signal.
  while (!fs.existsSync(path.join(state, 'campaign.json'))) await setTimeout(50)
  child.kill('SIGINT')
  const first = await ended
  t.equal(first.code, 0, first.text)
  const done = Number(/^(\d+) executions in/m.exec(first.text)?.[1])
  t.ok(done >= 20_000 && done < 1e9, `${done} were done`)
  const second = await fuzz(...words, '--executions', String(done + 1000))
  t.match(second.text, new RegExp(`^${done} executions were done before`, 'm'))
  t.match(second.text, new RegExp(`^${done + 1000} executions in`, 'm'))
  const file = path.join(state, 'campaign.json')
  fs.writeFileSync(file, fs.readFileSync(file, 'utf8').replace(/"text":"commit \w+/, '"text":"commit 0000000'))
  const other = await fuzz(...words)
  t.equal(other.code, 2)
  t.match(other.text, /has a campaign of commit 0000000/)
})

for (const signal of STOP_SIGNALS) {
  t.test(`a stop that reaches the slices too is no crash: ${signal}`, async (t) => {
    const state = path.join(temporaryFolder(t), 'state')
    const words = ['nbd-tls-gate', 'peer-preface', '--jobs', '2', '--state', state, '--executions', '1000000000']
    const { child, ended } = start(words, { detached: true })
    while (!fs.existsSync(path.join(state, 'campaign.json'))) await setTimeout(50)
    // As a terminal does, and a `kill` of the group.
    process.kill(-child.pid!, signal)
    const { text, code } = await ended
    t.equal(code, 0, text)
    t.match(text, /; 0 crashes$/m)
  })
}

t.test('each target has up to a million or twice the average time, and none has most', (t) => {
  const costMs: Record<string, number> = { slow: 1, middle: 0.01, fast: 0.001 }
  for (let i = 0; i < 20; i++) costMs[`other${i}`] = 0.02
  const had = new Map(Object.keys(costMs).map((name) => [name, { executions: 0, cpuMs: 0 }]))
  const shares = new Shares(had, { executions: 1e8, sliceCpuMs: 20_000 })
  for (let turn = shares.next(); turn !== undefined; turn = shares.next()) {
    shares.done(turn)
    const target = had.get(turn.name)!
    target.executions += turn.executions
    target.cpuMs += turn.executions * costMs[turn.name]!
  }
  const executions = [...had.values()].map((target) => target.executions)
  t.equal(executions.reduce((sum, one) => sum + one, 0), 1e8)
  const totalMs = [...had.values()].reduce((sum, { cpuMs }) => sum + cpuMs, 0)
  const slowShare = had.get('slow')!.cpuMs / totalMs
  t.ok(slowShare > 1.8 / had.size && slowShare < 2.5 / had.size, `of the time the slow one has ${slowShare}`)
  const others = [...had].filter(([name]) => name !== 'slow').map(([, target]) => target.executions)
  t.ok(others.every((one) => one >= EVERYBODYS_MAX && one <= 1e7), executions.join())
  t.equal(had.get('fast')!.executions, 1e7)
  t.end()
})

const PLANTED = [
  ['nested', /nested: Error: planted/],
  ['endless', /endless: it did not end within 3000 ms of the processor/, '--hung-ms', '3000'],
  ['quadratic', /quadratic: it took \d+ ms of the processor/],
  ['greedy', /greedy: (?:the process ended with .*|it took \d+ ms|it did not end)/],
  ['hoarding', /hoarding: (?:the process ended with SIG.*|it took \d+ ms)/],
  ['outside', /outside: the process has \d+ MiB of memory/],
] as const

/** One that throws, and one that ends the process. */
const REPEATED: readonly string[] = ['nested', 'hoarding']

for (const [name, problem, ...words] of PLANTED) {
  t.test(`a planted bug is found: ${name}`, async (t) => {
    const dir = path.join('test', 'fuzz', 'planted')
    const { text, code } = await fuzz(name, '--targets', dir, '--executions', '300000', ...words)
    t.equal(code, 1, text)
    t.match(text, problem)
    t.match(text, /; 1 crashes$/m)
    const [, input] = /^repeat with: npm run fuzz -- \w+ --input (\S+)$/m.exec(text) ?? []
    t.teardown(() => fs.rmSync(path.join(ROOT, input!), { force: true }))
    if (!REPEATED.includes(name)) return
    const again = await fuzz(name, '--targets', dir, '--input', input!, ...words)
    t.equal(again.code, 1, `it is repeated by itself: ${again.text}`)
  })
}
