/** What NBD clients are told of a volume besides its size. */
import type { VolumeSpec } from '../engine/volume/volume-spec.ts'

export const describeVolume = ({ name, durability }: Pick<VolumeSpec, 'name' | 'durability'>): string =>
  `Holdfast volume ${name} (${durability})`
