/**
 * crc32c: right by the published vectors, the same from both packages, continued the same way, and never JavaScript.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { chooseChecksum, crc32c, describeChecksum, INSTALLED, requireNativeChecksum } from '../../dataplane/checksum.ts'
import type { NativeCrc32c } from '../../dataplane/checksum.ts'
import t from 'tap'

const ascending = Uint8Array.from({ length: 32 }, (_, index) => index)
const iscsiRead = Uint8Array.from(Buffer.from(
  '01c00000' + '00000000' + '00000000' + '00000000' + '14000000' + '00000400' + '00000014' + '00000018' +
  '28000000' + '00000000' + '02000000' + '00000000',
  'hex',
))

/** RFC 3720 appendix B.4 shows them byte-swapped; these are the numbers. The last is the usual check value. */
const VECTORS: Array<[name: string, bytes: Uint8Array, expected: number]> = [
  ['32 bytes of zeroes', new Uint8Array(32), 0x8a9136aa],
  ['32 bytes of ones', new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ['32 incrementing bytes', ascending, 0x46dd794e],
  ['32 decrementing bytes', ascending.toReversed(), 0x113fdb5c],
  ['an iSCSI READ (10) command', iscsiRead, 0xd9963a56],
  ['123456789', Buffer.from('123456789'), 0xe3069283],
]

const implementations: Array<[name: string, calculate: NativeCrc32c]> = [
  ['the chosen one', crc32c],
  ['fast-crc32c', INSTALLED.fast().calculate],
  ['@node-rs/crc32', INSTALLED.prebuilt().crc32c],
]

for (const [name, calculate] of implementations) {
  t.test(`${name} gives the published values`, (t) => {
    for (const [what, bytes, expected] of VECTORS) t.equal(calculate(bytes, 0), expected, what)
    t.end()
  })

  t.test(`${name} continues from a former value at every split`, (t) => {
    const whole = crc32c(iscsiRead)
    for (let at = 0; at <= iscsiRead.length; at++) {
      const first = calculate(iscsiRead.subarray(0, at), 0)
      if (calculate(iscsiRead.subarray(at), first) !== whole) t.fail(`split at ${at}`)
    }
    t.equal(calculate(new Uint8Array(0), 0xdeadbeef), 0xdeadbeef, 'nothing changes nothing, and the value is unsigned')
    t.end()
  })
}

t.test('views into larger, odd and shared memory', (t) => {
  const shared = new Uint8Array(new SharedArrayBuffer(64), 13, 9)
  shared.set(Buffer.from('123456789'))
  for (const [name, calculate] of implementations) t.equal(calculate(shared, 0), 0xe3069283, name)
  t.end()
})

t.test('the two packages agree on random blocks', (t) => {
  const block = new Uint8Array(4096 + 7)
  let agreed = 0
  for (let round = 0, state = 1; round < 50; round++) {
    for (let index = 0; index < block.length; index++) block[index] = state = (state * 69069 + 1) % 2 ** 32
    const bytes = block.subarray(round % 7, 4096 - round)
    const previous = state
    const values = new Set(implementations.map(([, calculate]) => calculate(bytes, previous)))
    if (values.size === 1) agreed++
    else t.fail(`round ${round}: ${[...values].join(' ')}`)
  }
  t.equal(agreed, 50)
  t.end()
})

t.test('a silent fall back to JavaScript is never taken', (t) => {
  const javascript: NativeCrc32c = () => 0
  const native: NativeCrc32c = () => 1
  const absent = () => { throw new Error('Cannot find module') }

  const prebuilt = chooseChecksum({
    fast: () => ({ calculate: javascript, sse42: undefined }),
    prebuilt: () => ({ crc32c: native, native: true }),
  })
  t.match(prebuilt, { implementation: '@node-rs/crc32', reason: /fast-crc32c has no native part/ })

  const table = chooseChecksum({
    fast: () => ({ calculate: javascript, sse42: native }),
    prebuilt: () => ({ crc32c: native, native: true }),
  })
  t.match(table, { implementation: '@node-rs/crc32', reason: /no SSE 4.2/ })

  const webAssembly = chooseChecksum({ fast: absent, prebuilt: () => ({ crc32c: native, native: false }) })
  t.match(webAssembly, { implementation: 'none', reason: /without machine code/ })

  const nothing = chooseChecksum({ fast: absent, prebuilt: absent })
  t.match(nothing, { implementation: 'none', reason: /fast-crc32c did not load .*node-rs.* did not load/ })
  t.end()
})

t.test('the installed choice is native and says which in words', (t) => {
  requireNativeChecksum()
  t.match(describeChecksum(), { native: true, sentence: /^crc32c by (fast-crc32c|@node-rs\/crc32): / })
  t.end()
})

t.test('a start without any native part is refused in one sentence', (t) => {
  const module = fileURLToPath(new URL('../../dataplane/checksum.ts', import.meta.url))
  const script = `
    const { Module } = await import('node:module')
    const load = Module._load
    Module._load = (name, ...rest) => {
      if (/sse4_crc32|node-rs/.test(name)) throw new Error('taken away')
      return load(name, ...rest)
    }
    const { crc32c, describeChecksum, requireNativeChecksum } = await import(${JSON.stringify(module)})
    const codes = [requireNativeChecksum, () => crc32c(new Uint8Array(1))].map((call) => {
      try { call() } catch (error) { return error.code + ': ' + error.message }
    })
    console.log(JSON.stringify({ codes, ...describeChecksum() }))`
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
  const said = JSON.parse(out) as { codes: string[]; native: boolean; sentence: string }
  t.equal(said.native, false)
  t.match(said.sentence, /^no native crc32c: fast-crc32c has no native part here, @node-rs\/crc32 did not load/)
  for (const line of said.codes) t.match(line, /^checksum-slow: /)
  t.equal(said.codes.length, 2)
  t.end()
})
