/**
 * The life of a volume on a host, with each promise looked at where it was made: staged and published, written, shown
 * read-only beside, taken away, staged again under the next generation, read, taken away.
 */
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { isReadOnly } from '../../../csi/host/mountinfo.ts'
import type { KilledHost } from './killed-host.ts'

const OK = 0
const FAILED_PRECONDITION = 9
const PROOF = 'what a pod wrote and synced'

/** @returns the first promise that was broken; undefined: none */
export async function killedStory(host: KilledHost, fsType: string): Promise<string | undefined> {
  const problems: string[] = []
  const promise = (isKept: boolean, what: string): void => void (isKept || problems.push(what))
  const done = ({ code, message }: { code: number; message: string }, what: string): void =>
    promise(code === OK, `${what}: status ${code}: ${message}`)
  const shown = (name: string) => host.mounts().findLast(({ mountPoint }) => mountPoint === host.at(name))
  const unpublish = async (name: string): Promise<void> => {
    done(await host.call('NodeUnpublishVolume', { targetPath: host.at(name) }), `unpublish ${name}`)
    promise(!existsSync(host.at(name)), `${name} is there after unpublish`)
  }
  const unstage = async (): Promise<void> => {
    done(await host.call('NodeUnstageVolume', { stagingTargetPath: host.at('staging') }), 'unstage')
    promise(host.leftovers().length === 0, `left after unstage: ${host.leftovers().join(', ')}`)
  }
  const stage = async (generation: number): Promise<void> => {
    done(await host.stage(generation, fsType), `stage ${generation}`)
    promise(shown('staging')?.fsType === fsType, `staging shows ${shown('staging')?.fsType}`)
    promise(shown('staging')?.options.includes('noatime') === true, 'staged without its options')
    promise(host.servers().length === 1, `${host.servers().length} programs serve its device`)
  }
  const publish = async (generation: number, name: string, readonly: boolean): Promise<void> => {
    done(await host.publish(generation, fsType, name, readonly), `publish ${name}`)
    const mount = shown(name)
    promise(mount?.device === shown('staging')?.device, `${name} shows another device`)
    const wished = readonly ? 'read-only' : 'writable'
    promise(mount !== undefined && isReadOnly(mount) === readonly, `${name} is not ${wished}`)
    const stacked = host.mounts().filter(({ mountPoint }) => mountPoint === host.at(name))
    promise(stacked.length === 1, `${name} has ${stacked.length} mounts`)
  }
  const steps: Array<() => Promise<void>> = [
    () => host.serve(1),
    () => stage(1),
    () => publish(1, 'a', false),
    async () => write(host.at('a/proof')),
    () => publish(1, 'b', true),
    () => publish(1, 'a', false),
    async () => promise(read(host.at('b/proof')) === PROOF, 'b does not show what a wrote'),
    () => unpublish('b'),
    async () => {
      // Of a publish that came no farther than that.
      mkdirSync(host.at('c'))
      await unpublish('c')
    },
    () => unpublish('a'),
    unstage,
    () => host.serve(2),
    () => stage(2),
    () => publish(2, 'a', false),
    async () => promise(read(host.at('a/proof')) === PROOF, 'what was synced is lost'),
    async () => {
      const late = await host.stage(1, fsType, { once: true })
      promise(late.code === FAILED_PRECONDITION, `a late stage of generation 1: ${late.code} ${late.message}`)
      promise(shown('staging') !== undefined && shown('a') !== undefined, 'a late stage ended what is there')
    },
    () => unpublish('a'),
    unstage,
    () => unpublish('a'),
    unstage,
  ]
  for (const step of steps) {
    await step()
    if (problems.length > 0) return problems.join('; ')
  }
  return undefined
}

function write(file: string): void {
  const fd = openSync(file, 'w')
  writeSync(fd, PROOF)
  fsyncSync(fd)
  closeSync(fd)
}

const read = (file: string): string | undefined =>
  statSync(file, { throwIfNoEntry: false }) === undefined ? undefined : readFileSync(file, 'utf8')
