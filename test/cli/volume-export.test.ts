/** Risk: a file that an export has answered for has no name after a power cut. */
import fs from 'node:fs'
import { mock } from 'node:test'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { PartialFile } from '../../cli/volume-export.ts'
import { temporaryFolder } from '../temporary-folder.ts'

function stand(t: Test, sync: (fd: number) => void) {
  const dir = temporaryFolder(t)
  const file = path.join(dir, 'image')
  const synced = mock.method(fs, 'fsyncSync', sync)
  t.teardown(() => synced.mock.restore())
  const image = new PartialFile(file)
  return { dir, file, image }
}

t.test('its folder is synced when it has its name', (t) => {
  const seen: unknown[] = []
  const { dir, file, image } = stand(t, (fd) => {
    seen.push([fs.fstatSync(fd).ino, fs.existsSync(file)])
  })
  image.complete()
  image.end()
  t.same(seen, [[fs.statSync(dir).ino, true]])
  t.same(fs.readdirSync(dir), ['image'])
  t.end()
})

for (const [code, left] of [['EIO', []], ['EINVAL', ['image']]] as const) {
  t.test(`a folder whose sync ends with ${code}`, (t) => {
    const { dir, image } = stand(t, () => {
      throw Object.assign(new Error(code), { code })
    })
    if (code === 'EIO') t.throws(() => image.complete(), { code: 'image-write' })
    else t.doesNotThrow(() => image.complete(), 'such a file system has no sync of folders')
    image.end()
    t.same(fs.readdirSync(dir), left)
    t.end()
  })
}
