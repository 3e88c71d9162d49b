/** Running fio against an NBD server or a file, and the cases every server is measured with. */
import { spawn, spawnSync } from 'node:child_process'
import { parseFioReport, type FioReport } from './fio-report.ts'
import type { Scratch } from './scratch.ts'

export interface FioCase {
  name: string
  rw: 'randwrite' | 'randread' | 'write' | 'read'
  blockBytes: number
  queueDepth: number
}

const KIB = 1024

export const CASES: readonly FioCase[] = [
  { name: '4k randwrite QD1', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 1 },
  { name: '4k randwrite QD32', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 32 },
  { name: '4k randwrite QD128', rw: 'randwrite', blockBytes: 4 * KIB, queueDepth: 128 },
  { name: '4k randread QD1', rw: 'randread', blockBytes: 4 * KIB, queueDepth: 1 },
  { name: '4k randread QD32', rw: 'randread', blockBytes: 4 * KIB, queueDepth: 32 },
  { name: '128k write QD8', rw: 'write', blockBytes: 128 * KIB, queueDepth: 8 },
  { name: '128k read QD8', rw: 'read', blockBytes: 128 * KIB, queueDepth: 8 },
]

export const isWrite = ({ rw }: FioCase): boolean => rw.endsWith('write')

export function hasTool(tool: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0
}

export type FioTarget = { uri: string } | { file: string }

/** Words of fio for a target; the NBD engine takes a URI, the file engine syncs behind every write. */
export function targetWords(target: FioTarget): string[] {
  return 'uri' in target
    ? ['--ioengine=nbd', `--uri=${target.uri}`]
    : ['--ioengine=psync', `--filename=${target.file}`, '--fdatasync=1']
}

export function caseWords(one: FioCase, sizeBytes: number, seconds: number): string[] {
  const { rw, blockBytes, queueDepth } = one
  return [
    `--rw=${rw}`, `--bs=${blockBytes}`, `--iodepth=${queueDepth}`, `--size=${sizeBytes}`, '--time_based',
    `--runtime=${seconds}`, '--randrepeat=0', '--norandommap',
  ]
}

/** Rejects when fio fails or reports an error. */
export function runFio(scratch: Scratch, target: FioTarget, words: string[]): Promise<FioReport> {
  return new Promise((resolve, reject) => {
    const report = ['--output-format=json', '--lat_percentiles=1', '--clat_percentiles=0']
    const args = ['--name=bench', ...targetWords(target), ...words, ...report]
    const child = scratch.keep(spawn('fio', args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: scratch.dir }))
    let output = ''
    let errors = ''
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      errors += text
    })
    child.on('error', reject)
    child.on('close', (code) => {
      try {
        const parsed = parseFioReport(output)
        if (code !== 0) throw new Error(`fio ended with ${code}`)
        resolve(parsed)
      } catch (error) {
        reject(new Error(`${(error as Error).message}\nfio ${args.join(' ')}\n${errors.trim()}`, { cause: error }))
      }
    })
  })
}

/** Write all of it once, so that no later write meets a hole, an unwritten extent or a block that was never stored. */
export function prefill(scratch: Scratch, target: FioTarget, sizeBytes: number): Promise<FioReport> {
  const plain = 'uri' in target ? target : { file: target.file }
  const words = ['--rw=write', '--bs=1M', '--iodepth=4', `--size=${sizeBytes}`, '--end_fsync=1']
  return runFio(scratch, plain, 'uri' in plain ? words : [...words, '--fdatasync=0'])
}
