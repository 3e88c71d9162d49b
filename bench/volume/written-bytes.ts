/**
 * Where the bytes a daemon writes go. The kernel says how many there were; what the index wrote is in LevelDB's own
 * log, what initialising segments wrote shows in the extents of the disk file, the rest is the log of the store.
 */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'

/**
 * Bytes of tables LevelDB says it wrote. Each level-0 table is the content of a write-ahead log that was written
 * before, so it counts twice.
 */
export function indexBytesOf(log: string): number {
  let bytes = 0
  for (const [, size] of log.matchAll(/Level-0 table #\d+: (\d+) bytes OK/g)) bytes += 2 * Number(size)
  for (const [, size] of log.matchAll(/Compacted \S+ \+ \S+ files => (\d+) bytes/g)) bytes += Number(size)
  return bytes
}

/** @param folder  of the indexes of a node: <disk>/<stream>/LOG */
export function indexBytesBelow(folder: string): number {
  const logs = (fs.readdirSync(folder, { recursive: true }) as string[]).filter((file) => path.basename(file) === 'LOG')
  return logs.reduce((sum, file) => sum + indexBytesOf(fs.readFileSync(path.join(folder, file), 'utf8')), 0)
}

/** Bytes of a file that are reserved but not initialised; undefined where `filefrag` cannot tell. */
export function unwrittenBytes(file: string): number | undefined {
  const { stdout, status } = spawnSync('filefrag', ['-v', '-b4096', file], { encoding: 'utf8' })
  return status === 0 ? unwrittenBytesOf(stdout) : undefined
}

/** ` 0:  0..  511:  34816..  35327:   512:   unwritten,eof` in blocks of 4096 bytes. */
export function unwrittenBytesOf(listing: string): number {
  let blocks = 0
  for (const line of listing.split('\n')) {
    const fields = /^\s*\d+:\s*\d+\.\.\s*\d+:\s*\d+\.\.\s*\d+:\s*(\d+):/.exec(line)
    if (fields !== null && /\bunwritten\b/.test(line)) blocks += Number(fields[1])
  }
  return blocks * 4096
}

/** Sectors of 512 bytes written, by /proc/diskstats, of the whole device a file system lies on. */
export function deviceBytesOf(diskstats: string, device: string): number | undefined {
  for (const line of diskstats.split('\n')) {
    const fields = line.trim().split(/\s+/)
    if (fields[2] === device) return Number(fields[9]) * 512
  }
  return undefined
}
