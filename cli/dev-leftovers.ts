/**
 * Processes of a `holdfast dev` that was killed end by themselves, as soon as they see that their channel to it has
 * closed: cleanly, so that takes a moment. A new `holdfast dev` in the same folder waits for that, and has their ports.
 */
import { closeSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { STOP_DEADLINE_MS } from '../dataplane/daemon-start.ts'
import { lockFolder } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import type { Output } from './output.ts'

const LOOK_EVERY_MS = 50
/** Longer than a clean stop may take. */
const WAIT_MS = STOP_DEADLINE_MS + 2000

export interface LockedFolder {
  dir: string
  lock: string
}

/** @throws HoldfastError `folder-in-use` when one of them is still held after a stop should have ended */
export async function leftoversGone(folders: LockedFolder[], output: Output): Promise<void> {
  const deadlineMs = performance.now() + WAIT_MS
  let isTold = false
  for (const folder of folders) {
    for (;;) {
      const refusal = inUse(folder)
      if (refusal === undefined) break
      if (performance.now() > deadlineMs) throw refusal
      if (!isTold) output.note('waiting for processes of a former `holdfast dev` in this folder to end')
      isTold = true
      await sleep(LOOK_EVERY_MS)
    }
  }
}

function inUse({ dir, lock }: LockedFolder): HoldfastError | undefined {
  if (!existsSync(lock)) return undefined
  try {
    closeSync(lockFolder(dir, lock))
    return undefined
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'folder-in-use') return error
    throw error
  }
}
