/** A node that starts on a machine that has booted since: a boot id of its own, laid over the kernel's for it alone. */
import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'

const BOOT_ID = '/proc/sys/kernel/random/boot_id'
const UNDER = ['unshare', '--mount', 'sh', '-c', `mount --bind "$0" ${BOOT_ID} && exec "$@"`]

/** Why it cannot be done here; undefined: it can. */
export function otherBootMissing(): string | undefined {
  const { status } = spawnSync('unshare', ['--mount', 'sh', '-c', `mount --bind /dev/null ${BOOT_ID}`])
  return status === 0 ? undefined : 'needs root, for a mount namespace'
}

/** Each call is another boot. @param file where its id is kept while the node runs @returns what the node runs under */
export function underOtherBoot(file: string): string[] {
  writeFileSync(file, `${randomUUID()}\n`)
  return [...UNDER, file]
}
