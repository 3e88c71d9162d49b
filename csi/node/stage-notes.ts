/** What is noted of a device, as staging and publishing use it: one stage, and what was published of it. */
import type { HostDevice, HostDevices, StagedMount } from '../host/host-devices.ts'

/** What a mount of what was staged is noted as, in the place of a file system. */
export const PUBLISHED = 'bind'

/** Which of what is noted of a device is its stage. */
export const stageNoteOf = ({ mounts }: HostDevice): StagedMount | undefined =>
  mounts.find(({ fileSystem }) => fileSystem !== PUBLISHED)

/** Whose mounts are none of this volume's. */
export const otherDevices = async (devices: HostDevices, volumeId: string): Promise<HostDevice[]> =>
  (await devices.list()).filter((one) => one.volumeId !== volumeId)
