/**
 * Writing a file so that all of it is there: the kernel may take less than it is given, near the end of the room, and a
 * power cut takes what was not synced, the file's name too.
 */
import fs from 'node:fs'

/**
 * Write `bytes[from, from + length)` at `offset` of the file, all of it.
 * @throws what `fs.writeSync` does; how much is written then is not known
 */
export function writeWhole(fd: number, bytes: Buffer, from: number, length: number, offset: number): void {
  for (let done = 0; done < length;) done += fs.writeSync(fd, bytes, from + done, length - done, offset + done)
}

/**
 * Make the names in a folder durable, as far as it can be: a user may write folders that he may not read, and not each
 * file system syncs folders.
 * @throws what `fs.fsyncSync` does
 */
export function syncFolder(folder: string): void {
  let fd: number | undefined
  try {
    fd = fs.openSync(folder, 'r')
    fs.fsyncSync(fd)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== (fd === undefined ? 'EACCES' : 'EINVAL')) throw error
  } finally {
    if (fd !== undefined) fs.closeSync(fd)
  }
}
