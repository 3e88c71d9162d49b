/** What a guest is told by the file it starts with, and what both ends say on its console. */
import type { NodeConfig } from '../../dataplane/node-config.ts'

export interface GuestOrder {
  /** Its `dir` is where the guest mounts its disk. */
  config: NodeConfig
  /** A program that runs the node, told what to be by a message of its parent. */
  nodeMain: string
  /** Of the processes of the node. */
  environment: Record<string, string>
  address: string
  gateway: string
  /**
   * What the guest's kernel does about pages that nobody syncs: `never` writes them, or `early`, so that some of them
   * are on the disk and others are not.
   */
  writesBack: 'never' | 'early'
}

/** Lines of a guest begin with it; whatever else is on the console is its kernel's. */
export const GUEST = 'guest: '
/** It serves; and what became of the file that was written, and not synced, before the last cut. */
export const READY = `${GUEST}ready, the unsynced file is `
export const ENDED = `${GUEST}its node ended: `
export const STOPPED = `${GUEST}stopped with `
/** On its standard input. */
export const STOP = 'stop'
