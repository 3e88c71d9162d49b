/** Bugs of the host side of CSI that the story of killed steps has to find (planted-bugs.test.ts). */
import type { HostProgram } from '../../../csi/host/host-command.ts'
import type { Mutant } from '../../sim/mutants.ts'
import type { Kill } from './killed-host.ts'

export interface HostBug extends Omit<Mutant, 'hunt'> {
  /** It is met when the service is killed so at some run of that program; unset: without a kill. */
  met?: { at: HostProgram; kill: Kill }
}

export const PLANTED: readonly HostBug[] = [
  {
    name: 'what looks empty is formatted without a mark',
    file: 'csi/host/file-systems.ts',
    replace: 'await putMark(devicePath, markedBytes)',
    by: '',
    met: { at: 'mkfs.ext4', kill: 'cut' },
  },
  {
    name: 'a file system that is there is made anew',
    file: 'csi/host/file-systems.ts',
    replace: 'if (content.fsType !== fsType) throw refused(content.fsType)\n      return false',
    by: 'await make(devicePath, fsType)\n      return true',
  },
  {
    name: 'a mount is believed to be read-only because it was bound',
    file: 'csi/node/publishing.ts',
    replace: 'if (isOnlyRead && !isReadOnly(shown)) await makeReadOnly(targetPath)',
    by: 'if (present === undefined && isOnlyRead) await makeReadOnly(targetPath)',
    met: { at: 'mount', kill: 'after' },
  },
  {
    name: 'a device is forgotten before it is gone',
    file: 'csi/host/fuse-devices.ts',
    replace: '    await this.#end(entry)\n    this.#table.remove(volumeId)',
    by: '    this.#table.remove(volumeId)\n    await this.#end({ ...entry, state: \'detaching\' })',
    met: { at: 'losetup', kill: 'before' },
  },
  {
    name: 'a server that was just started is started again',
    file: 'csi/host/fuse-server.ts',
    replace: '    await this.end()\n    mkdirSync',
    by: '    mkdirSync',
    met: { at: 'nbdfuse', kill: 'during' },
  },
  {
    name: 'a target stays when nothing is mounted on it any more',
    file: 'csi/node/publishing.ts',
    replace: '  await removeMountPoint(targetPath)\n',
    by: '  if (device?.mounts.some(({ path }) => path === targetPath)) await removeMountPoint(targetPath)\n',
  },
  {
    name: 'an older generation is taken',
    file: 'csi/node/staging.ts',
    replace: 'if (present.generation > generation) {',
    by: 'if (present.generation > generation + 1000) {',
  },
]
