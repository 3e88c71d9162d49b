/** Writing a file as far as all of it goes: the kernel may take less than it is given, near the end of the room. */
import fs from 'node:fs'

/**
 * Write `bytes[from, from + length)` at `offset` of the file, all of it.
 * @throws what `fs.writeSync` does; how much is written then is not known
 */
export function writeWhole(fd: number, bytes: Buffer, from: number, length: number, offset: number): void {
  for (let done = 0; done < length;) done += fs.writeSync(fd, bytes, from + done, length - done, offset + done)
}
