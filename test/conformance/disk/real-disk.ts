/**
 * A real file behind the disk suite. As a program (`real-disk.ts PATH inline|pool`) it prints the outcomes around an
 * error that strace injects from outside, and bytes of blocks 3 to 5 as they lie on the disk.
 */
import fs from 'node:fs'
import { pathToFileURL } from 'node:url'
import { createDiskFile } from '../../../dataplane/disk/disk-file.ts'
import { FileDisk, type FileDiskOptions } from '../../../dataplane/disk/file-disk.ts'
import { outcomesAround, type DiskUnderTest } from './suite.ts'

export async function fileDiskUnderTest(
  path: string,
  sizeBytes: number,
  options: FileDiskOptions = {},
): Promise<DiskUnderTest & { disk: FileDisk }> {
  const file = createDiskFile(path, sizeBytes)
  if (!file.ok) throw file.error
  const opened = FileDisk.open(file.value, options)
  if (!opened.ok) throw opened.error
  const disk = opened.value
  return {
    disk,
    drive: () => {},
    close: async () => {
      await new Promise<void>((resolve) => disk.close(resolve))
      fs.closeSync(file.value.fd)
      fs.unlinkSync(path)
    },
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  const failures: string[] = []
  const [, , path, mode] = process.argv
  const options: FileDiskOptions = { onFailed: (reason) => failures.push(reason) }
  if (mode === 'pool') options.inlineBytesMax = 0
  const under = await fileDiskUnderTest(path!, 1 << 20, options)
  const said = await outcomesAround(under)
  said.push(failures.length === 0 ? 'not failed' : `failed ${failures.length === 1 ? 'once' : 'often'}: ${failures[0]}`)
  const whole = fs.readFileSync(path!)
  const bytes = [0, 4607, 4608, 8192].map((at) => whole[3 * 4096 + at]!)
  await under.close()
  process.stdout.write(JSON.stringify({ said, bytes }))
}
