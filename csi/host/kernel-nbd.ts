/** Why the kernel's NBD client cannot be used here, and how to get it on this distribution. */
import { existsSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

/** As `/etc/os-release` names distributions, the first that fits of `ID` and `ID_LIKE`. */
const WAYS: Record<string, string> = {
  ubuntu: '`apt-get install linux-modules-extra-$(uname -r)`, then `modprobe nbd`',
  debian: '`apt-get install linux-image-$(uname -r)`, which has it, then `modprobe nbd`',
  fedora: '`dnf install kernel-modules-extra-$(uname -r)`, then `modprobe nbd`',
  rhel: '`dnf install kernel-modules-extra-$(uname -r)`, then `modprobe nbd`',
  flatcar: '`modprobe nbd`, and a file of `/etc/modules-load.d/` that names nbd',
  talos: 'a machine configuration with `machine.kernel.modules: [{name: nbd}]`',
  bottlerocket: 'the setting `settings.kernel.modules.nbd.allowed = true`, with `autoload = true`',
  sles: '`zypper install kernel-default` in place of kernel-default-base, boot it, then `modprobe nbd`',
  suse: '`zypper install kernel-default` in place of kernel-default-base, boot it, then `modprobe nbd`',
  amzn: '`dnf install kernel-modules-extra`, then `modprobe nbd`',
  arch: '`modprobe nbd`; after an update of the kernel boot it first',
  alpine: '`apk add linux-lts` in place of linux-virt, boot it, then `modprobe nbd`',
}
const OTHERWISE = 'a kernel with CONFIG_BLK_DEV_NBD, then `modprobe nbd`'

/** @param osRelease text of /etc/os-release */
export function wayToNbd(osRelease: string): string {
  const value = (name: string): string => new RegExp(`^${name}="?([^"\\n]*)"?$`, 'm').exec(osRelease)?.[1] ?? ''
  const names = [value('ID'), ...value('ID_LIKE').split(' ')]
  // Those that begin with a name are its kin, e.g. opensuse-leap, sles_sap.
  const known = names.find((name) => WAYS[name] !== undefined)
  return known === undefined ? OTHERWISE : WAYS[known]!
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export type KernelNbd =
  { state: 'loaded' } | { state: 'loadable' } | { state: 'absent'; way: string } | { state: 'old'; way: string }

/** The first that shows whose a device is (/sys/block/nbdN/backend), without which none may be touched (N1). */
const LEAST = [5, 14] as const

/** Of the error `kernel-nbd`. */
export const TOO_OLD = {
  reason: `kernel ${os.release()} does not show whose a device is`, way: `a kernel from ${LEAST.join('.')} on`,
}

function isOld(release: string): boolean {
  const [major = 0, minor = 0] = release.split(/[.-]/).map(Number)
  return major < LEAST[0] || (major === LEAST[0] && minor < LEAST[1])
}

/** @param root  of the file system that is looked at */
export function kernelNbd(release = os.release(), root = '/'): KernelNbd {
  if (isOld(release)) return { state: 'old', way: TOO_OLD.way }
  if (existsSync(path.join(root, 'sys/module/nbd'))) return { state: 'loaded' }
  const modules = path.join(root, 'lib/modules', release)
  const listed = `${readText(path.join(modules, 'modules.dep'))}${readText(path.join(modules, 'modules.builtin'))}`
  if (/\/nbd\.ko/.test(listed)) return { state: 'loadable' }
  return { state: 'absent', way: wayToNbd(readText(path.join(root, 'etc/os-release'))) }
}

/** Of the error `kernel-nbd`. */
export function whyNoNbd(): { reason: string; way: string } {
  const found = kernelNbd()
  switch (found.state) {
    case 'loaded':
      return {
        reason: 'the module is loaded, and shown only in the network namespace of the host',
        way: 'run it there: a container needs `hostNetwork: true`, and privileges',
      }
    case 'loadable':
      return { reason: 'the module is not loaded, and could not be loaded from here', way: '`modprobe nbd`' }
    case 'old': return TOO_OLD
    case 'absent': return { reason: `kernel ${os.release()} has no module nbd here`, way: found.way }
  }
}
