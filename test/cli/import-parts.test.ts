/**
 * Risk: an image that somebody made shows a file of this host, which `volume import` copies for him: one that names a
 * backing file or a data file, also where a raw image was expected and its first bytes are those of a qcow2.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { otherFileOf } from '../../cli/qcow2-header.ts'
import { missing } from '../conformance/nbd/nbd-process.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { holdfast } from './run-holdfast.ts'

const dir = temporaryFolder(t)
const secret = path.join(dir, 'secret')
fs.writeFileSync(secret, Buffer.alloc(1 << 20, 'of this host '))

function made(name: string, ...words: string[]): string {
  const file = path.join(dir, name)
  const { status, stderr } = spawnSync('qemu-img', ['create', '-q', '-f', 'qcow2', ...words, file, '1M'])
  t.equal(status, 0, String(stderr))
  return file
}

t.test('images that are none by themselves', { skip: missing('qemu-img') }, async (t) => {
  const images = {
    'a backing file': made('backed', '-b', secret, '-F', 'raw'),
    'a data file': made('apart', '-o', `data_file=${secret},data_file_raw=on`),
  }
  for (const [what, file] of Object.entries(images)) {
    for (const words of [[], ['--format', 'qcow2']]) {
      const { code, stderr } = await holdfast(['volume', 'import', file, 'stolen', ...words], { cwd: dir })
      t.equal(code, 1)
      t.match(stderr, new RegExp(`${path.basename(file)} is no image by itself: it names ${what}`))
    }
  }
  const whole = made('whole')
  const { stderr } = await holdfast(['volume', 'import', whole, 'own'], { cwd: dir })
  t.notMatch(stderr, /no image by itself/, 'it goes on')
})

t.test('of any bytes', async (t) => {
  t.equal(otherFileOf(Buffer.from('QFI\xfb', 'latin1')), undefined, 'qemu-img says that it is none')
  const head = Buffer.alloc(80)
  head.write('QFI\xfb\0\0\0\x02', 'latin1')
  head[79] = 4
  t.equal(otherFileOf(head), undefined, 'version 2 has no features')
  head[7] = 3
  t.equal(otherFileOf(head), 'it names a data file')
  head[8] = 0x80
  t.equal(otherFileOf(head), 'it names a backing file')
})
