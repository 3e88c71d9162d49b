/** Daemons of another worktree of this repository, with a store of their own, to measure one beside another. */
import fs from 'node:fs'
import path from 'node:path'
import type { ClusterOfDaemons, ClusterOptions } from '../../test/cluster/cluster-of-daemons.ts'
import type { Scratch } from './scratch.ts'

export interface TreeClusterOptions extends Pick<ClusterOptions, 'diskBytes' | 'setUp'> {
  tree: string
  /** Of its folder in `scratch`. */
  name: string
  /** For its store; nobody else's. */
  port: number
  scratch: Scratch
  /** Gets what ends it, to be called in reverse order. */
  ends: Array<() => unknown>
}

/** The store runs, the nodes do not yet. */
export async function clusterOfTree(
  { tree, name, port, scratch, ends, ...options }: TreeClusterOptions,
): Promise<ClusterOfDaemons> {
  const { ClusterOfDaemons } = (await import(path.resolve(tree, 'test/cluster/cluster-of-daemons.ts'))) as
    typeof import('../../test/cluster/cluster-of-daemons.ts')
  const { EMBEDDED, StoreProcess } = (await import(
    path.resolve(tree, 'test/conformance/cluster-store/store-process.ts')
  )) as typeof import('../../test/conformance/cluster-store/store-process.ts')
  const dir = scratch.path(name)
  fs.mkdirSync(dir)
  const t = { teardown: (end: () => unknown) => void ends.push(end) }
  const storeProcess = new StoreProcess(t, EMBEDDED, port)
  await storeProcess.start()
  scratch.watchOver(storeProcess.pid)
  return ClusterOfDaemons.make(t, { dir, storeProcess, ...options })
}
