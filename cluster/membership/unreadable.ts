/** A record that this Holdfast cannot read: a newer one, or a person, wrote it. */
import { HoldfastError } from '../../engine/errors.ts'

export const unreadable = (key: string): HoldfastError => new HoldfastError('store-record', { key })
