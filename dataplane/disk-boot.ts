/**
 * The boot of the machine as what lies on one disk sees it. A copy with write-back has all that it acknowledged in the
 * boot in which it did (engine/replication/SPEC.md section 2.2), since the page cache outlives the process. A disk that
 * failed ends that: of what it did not write, anything may be gone. So its boot is another one from then on, by a note
 * that tells the rest of this boot the name of the new one. Nothing depends on the note behind a power cut.
 */
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'

const NAME = /^[0-9a-f]{32}$/

const noteIn = (diskFolder: string): string => path.join(diskFolder, 'failed')

const machineBoot = (): string =>
  fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim().replaceAll('-', '')

/** 32 hex digits. @param diskFolder  of the disk, among the indexes; it may not be there yet */
export function bootOf(diskFolder: string): string {
  const boot = machineBoot()
  const note = fs.existsSync(noteIn(diskFolder)) ? fs.readFileSync(noteIn(diskFolder), 'utf8').trim() : ''
  const [of = '', name = ''] = note.split(' ')
  if (!fs.existsSync(noteIn(diskFolder)) || (NAME.test(of) && of !== boot)) return boot
  // One that was cut short: no process of this boot may take it for its own.
  return of === boot && NAME.test(name) ? name : newName()
}

/** The disk failed. @returns why that cannot be noted */
export function noteFailure(diskFolder: string): string | undefined {
  try {
    fs.mkdirSync(diskFolder, { recursive: true })
    fs.writeFileSync(noteIn(diskFolder), `${machineBoot()} ${newName()}\n`)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

const newName = (): string => randomBytes(16).toString('hex')
