/** Running fio against NBD servers, files and RBD images. */
import { spawn, spawnSync } from 'node:child_process'
import { parseFioReport, type FioReport } from './fio-report.ts'
import type { Scratch } from './scratch.ts'

export function hasTool(tool: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${tool}`]).status === 0
}

export type FioTarget =
  | { uri: string }
  /** `each`: a write and its fdatasync, one at a time; `queue`: libaio with one fdatasync for each queue of writes. */
  | { file: string; sync: 'each' | 'queue' | 'none' }
  | { device: string }
  | { image: string; pool: string; conf: string }

/** @param queueDepth  of what is run, for the syncs of a file */
export function targetWords(target: FioTarget, queueDepth: number): string[] {
  if ('uri' in target) return ['--ioengine=nbd', `--uri=${target.uri}`]
  if ('device' in target) return ['--ioengine=libaio', '--direct=1', `--filename=${target.device}`]
  if ('image' in target) {
    return ['--ioengine=rbd', '--clientname=admin', `--pool=${target.pool}`, `--rbdname=${target.image}`]
  }
  const file = `--filename=${target.file}`
  if (target.sync === 'none') return ['--ioengine=psync', file]
  return target.sync === 'each'
    ? ['--ioengine=psync', file, '--fdatasync=1']
    : ['--ioengine=libaio', file, `--fdatasync=${queueDepth}`]
}

const queueDepthOf = (words: readonly string[]): number =>
  Number(/^--iodepth=(\d+)$/.exec(words.find((word) => word.startsWith('--iodepth=')) ?? '')?.[1] ?? 1)

/** What fio is called with: a job for each target, all at once and reported as one. */
export function fioArguments(targets: readonly FioTarget[], words: readonly string[]): string[] {
  const report = ['--output-format=json', '--lat_percentiles=1', '--clat_percentiles=0', '--group_reporting']
  const depth = queueDepthOf(words)
  const jobs = targets.flatMap((target, i) => [`--name=job${i}`, ...targetWords(target, depth)])
  return ['--name=global', ...words, ...report, ...jobs]
}

/** Rejects when fio fails or reports an error. */
export function runFio(
  scratch: Scratch, targets: FioTarget | readonly FioTarget[], words: readonly string[],
): Promise<FioReport> {
  return new Promise((resolve, reject) => {
    const args = fioArguments([targets].flat(), words)
    const conf = [targets].flat().find((target) => 'conf' in target)?.conf
    const env = conf === undefined ? process.env : { ...process.env, CEPH_CONF: conf }
    const child = scratch.keep(spawn('fio', args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: scratch.dir, env }))
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
  const plain: FioTarget = 'file' in target ? { ...target, sync: 'none' } : target
  return runFio(scratch, plain, ['--rw=write', '--bs=1M', '--iodepth=4', `--size=${sizeBytes}`, '--end_fsync=1'])
}
