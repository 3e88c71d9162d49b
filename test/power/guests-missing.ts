/** Whether guests can run here, and are asked for: each is a machine to boot, for every cut. */
import { spawnSync } from 'node:child_process'
import { LINUX } from './guest.ts'
import { networkMissing } from './own-network.ts'
import { registersMissing } from './wide-registers.ts'

const canRun = (...[command, ...words]: [string, ...string[]]): boolean => spawnSync(command, words).status === 0

/** Why there is no cut, or undefined. */
export const guestsMissing = (): string | undefined =>
  process.env.POWER_CUTS === undefined ? '`npm run power` cuts the power of whole machines' : whyNoGuests()

/** Why none can run here, or undefined. */
export function whyNoGuests(): string | undefined {
  if (!canRun(LINUX, '--version')) return 'user-mode-linux is not installed (Debian package user-mode-linux)'
  if (!canRun('mkfs.ext4', '-V')) return 'mkfs.ext4 is not installed (Debian package e2fsprogs)'
  if (!canRun('losetup', '--find')) return 'there is no loop device for the disks of guests'
  return networkMissing() ?? registersMissing()
}
