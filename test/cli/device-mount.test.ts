/** `holdfast attach --mount` mounts what nobody else can have mounted. */
import t from 'tap'
import { mountOn } from '../../cli/device-mount.ts'
import type { HostDevice } from '../../csi/host/host-devices.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const DEVICE: HostDevice = {
  volumeId: 'a'.repeat(32), generation: 1, mode: 'single', path: '', state: 'attached', sizeBytes: 0,
  blockSizeBytes: 512, readOnly: false, mounts: [], making: '',
}

t.test('no file system of a shared volume', async (t) => {
  // A call of its keeper would fail.
  const mounted = mountOn({} as never, { ...DEVICE, mode: 'shared' }, {
    name: 'v', folder: temporaryFolder(t), fsType: 'ext4',
  })
  await t.rejects(mounted, { code: 'mount-shared', message: /on two nodes destroy each other's data/ })
})
