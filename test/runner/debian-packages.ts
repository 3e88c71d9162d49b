/**
 * The tools of the host that some tests use, the Debian package of each, and how to get the missing ones. Tests whose
 * tool is missing skip themselves with the reason; this tells it beforehand and, when asked to, installs them.
 */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync } from 'node:fs'
import { join } from 'node:path'

interface DebianPackage {
  name: string
  /** Commands on the PATH, or absolute paths of files. */
  provides: string[]
  /** What cannot be tested without it. */
  uses: string
}

const PACKAGES: DebianPackage[] = [
  { name: 'fio', provides: ['fio'], uses: 'load and verification over NBD' },
  { name: 'nbdkit', provides: ['nbdkit'], uses: 'comparison with another NBD server' },
  { name: 'libnbd-bin', provides: ['nbdinfo', 'nbdcopy', 'nbdsh', 'nbdfuse'], uses: 'libnbd clients' },
  { name: 'python3-libnbd', provides: ['/usr/lib/python3/dist-packages/nbd.py'], uses: 'scripted libnbd clients' },
  { name: 'qemu-utils', provides: ['qemu-img', 'qemu-io', 'qemu-nbd'], uses: 'qemu clients' },
  { name: 'e2fsprogs', provides: ['mkfs.ext4', 'e2fsck'], uses: 'ext4 images' },
  { name: 'xfsprogs', provides: ['mkfs.xfs', 'xfs_growfs'], uses: 'xfs images' },
  { name: 'nbd-client', provides: ['nbd-client'], uses: 'the client of the nbd project' },
  { name: 'etcd-server', provides: ['etcd'], uses: 'the cluster store that is not ours' },
  { name: 'etcd-client', provides: ['etcdctl'], uses: 'a client of etcd that is not ours' },
  { name: 'postgresql', provides: ['pg_createcluster'], uses: 'a database on volumes' },
  { name: 'strace', provides: ['strace'], uses: 'counting of system calls' },
  { name: 'user-mode-linux', provides: ['linux.uml'], uses: "a kernel's NBD client" },
]

const SYSTEM_FOLDERS = ['/usr/local/sbin', '/usr/sbin', '/sbin']

/** Tools for administrators are often not on a user's PATH; the tests inherit this one. */
export function pathWithSystemFolders(path: string): string {
  const folders = path.split(':')
  return [...folders, ...SYSTEM_FOLDERS.filter((folder) => !folders.includes(folder))].join(':')
}

const isThere = (provided: string, path: string): boolean => {
  if (provided.startsWith('/')) return existsSync(provided)
  return path.split(':').some((folder) => {
    try {
      accessSync(join(folder, provided), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
}

export function missingPackages(path: string): DebianPackage[] {
  return PACKAGES.filter(({ provides }) => !provides.every((provided) => isThere(provided, path)))
}

/** Install them; the answer is undefined, or a sentence saying why not. */
export function installPackages(names: string[]): string | undefined {
  if (spawnSync('apt-get', ['--version'], { stdio: 'ignore' }).status !== 0) return 'there is no apt-get here'
  if (process.getuid?.() !== 0) return 'installing needs root'
  const apt = (seconds: number, ...words: string[]): string | undefined => {
    const { status, stderr, error } = spawnSync('apt-get', ['-q', '-y', ...words], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'ignore', 'pipe'],
      encoding: 'utf8',
      timeout: seconds * 1000,
    })
    if (status === 0) return undefined
    if (error) return `apt-get ${words[0]} did not end within ${seconds} s`
    return `apt-get ${words[0]} failed: ${stderr.trim().split('\n').slice(-3).join(' ')}`
  }
  // A stale package list is the usual reason for a failure; a failing update may still leave a usable one.
  const updated = apt(120, 'update')
  const installed = apt(420, 'install', '--no-install-recommends', ...names)
  return installed === undefined ? undefined : [updated, installed].filter(Boolean).join('; ')
}
