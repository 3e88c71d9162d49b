/**
 * What the device keeper does next for one volume, decided anew each time from what its table says, what the kernel
 * shows and what was asked: nothing is remembered between two steps but sockets, so a keeper that was killed anywhere
 * goes on by looking (N6). The caller looks, asks here, does that one thing, and looks again.
 *
 *   nothing   --attach--> save attaching --> dial --> save with its size --> CONNECT --> save attached --> done
 *   attaching   its backend is shown: save attached.  Nobody waits for it: it rests until somebody asks
 *   attached    sockets are missing, or may be: dial --> RECONFIGURE.  Its device is gone: save attaching
 *               attach with another time: RECONFIGURE --> save
 *   detaching   its backend is shown: DISCONNECT, look again.  Shown no more: remove the entry
 *
 * Of a device in use nothing is begun, since a DISCONNECT fails its I/O at once; unless it is over anyway.
 *
 * N1  a command names an index only when the kernel shows there, in this very look, the backend of the entry
 * N3  a wish of an older generation than the entry's is refused; of a newer one it detaches the former first
 * N6  no step depends on what was done, but on what is seen
 */
import { MAX_DEVICE_SECONDS } from './nbd-timeouts.ts'
import type { NbdPlace, TableEntry } from './device-table.ts'
import { TABLE_VERSION } from './device-table.ts'
import type { DeviceWish } from './host-devices.ts'
import type { ExportFacts } from './nbd-handshake.ts'
import { NBD_FLAG_READ_ONLY } from './nbd-handshake.ts'
import type { KernelDevice } from './nbd-sysfs.ts'

export type Ask =
  | { type: 'attach'; wish: DeviceWish }
  /** `force`: also while somebody uses it, whose I/O fails then. */
  | { type: 'detach'; force: boolean }
  /** Its attachment is known to be over: as a forced detach, but nobody waits for the end of who uses it. */
  | { type: 'over' }
  | { type: 'resize'; sizeBytes: number }
  /** Nobody asks; what there is is kept. */
  | { type: 'keep' }

/** Of the sockets of one volume. */
export interface SocketView {
  /** Their handshake is over, and the kernel has not got them. */
  ready: number
  /** What the server said with them. */
  facts: ExportFacts | undefined
  /** The kernel has them, given by this process, and they live. */
  held: number
  /** The kernel got them from an earlier keeper: they may live or not. */
  unknown: number
  /** Something says that one of the unknown ones is dead. */
  isSuspect: boolean
}

export interface DeviceView {
  entry: TableEntry | undefined
  /** All indexes, as they are now. */
  kernel: readonly KernelDevice[]
  sockets: SocketView
  /** A socket of a later attachment of this volume is there. */
  isSuperseded: boolean
  /** Who is seen to use that index. */
  usersOf(index: number): readonly string[]
}

export type RefusalCode = 'device-generation' | 'device-otherwise' | 'device-absent' | 'device-busy'

export type Step =
  | { do: 'save'; entry: TableEntry }
  | { do: 'remove' }
  | { do: 'dial'; count: number }
  | { do: 'connect' }
  | { do: 'reconfigure'; index: number; sizeBytes?: number }
  /** How long the kernel waits for sockets. It does not show that, so it is noted when it was told. */
  | { do: 'retime'; index: number; deadConnectionMs: number }
  | { do: 'disconnect'; index: number }
  /** Nothing to do but to look again in a while. */
  | { do: 'wait'; for: 'size' | 'superseded' | 'growth' }
  | { do: 'done' }
  | { do: 'refuse'; code: RefusalCode; detail: Record<string, string | number> }

export const CONNECTIONS = 2

export const backendOf = (volumeId: string, generation: number): string => `holdfast-${volumeId}-${generation}`

/** The index that shows the backend of an entry; undefined: none does. */
function ownIndex({ entry, kernel }: DeviceView): KernelDevice | undefined {
  return kernel.find(({ isUsed, backend }) => isUsed && backend === entry?.backend)
}

export function nextStep(view: DeviceView, ask: Ask): Step {
  const { entry } = view
  if (entry === undefined) return withoutEntry(ask)
  const refused = ask.type === 'attach' ? whyRefused(entry, ask.wish) : undefined
  if (refused !== undefined) return refused
  if (entry.state === 'detaching') return detaching(view, ask)
  const ends = ask.type === 'detach' || ask.type === 'over'
    || (ask.type === 'attach' && ask.wish.generation > entry.generation)
  if (ends) return whyBusy(view, ask) ?? { do: 'save', entry: { ...entry, state: 'detaching' } }
  return entry.state === 'attaching' ? attaching(view, entry, ask) : attached(view, entry, ask)
}

function withoutEntry(ask: Ask): Step {
  if (ask.type === 'attach') return { do: 'save', entry: newEntry(ask.wish) }
  if (ask.type === 'resize') return { do: 'refuse', code: 'device-absent', detail: {} }
  return { do: 'done' }
}

function newEntry(wish: DeviceWish): TableEntry {
  const { volumeId, generation, mode, ioTimeoutMs } = wish
  return {
    version: TABLE_VERSION,
    volumeId,
    generation,
    mode,
    state: 'attaching',
    device: { kind: 'nbd' },
    backend: backendOf(volumeId, generation),
    sizeBytes: 0,
    blockSizeBytes: 0,
    readOnly: wish.readOnly === true || mode === 'read-only',
    connections: CONNECTIONS,
    deadConnectionMs: deadConnectionMs(ioTimeoutMs),
    socket: `${wish.nodeFolder}/attached/${volumeId}.${generation}`,
    mounts: [],
  }
}

/** As long as the volume holds I/O, at least long enough for an update of the data process, and a little more. */
function deadConnectionMs(ioTimeoutMs: number): number {
  return ioTimeoutMs === 0 ? MAX_DEVICE_SECONDS * 1000 : Math.max(ioTimeoutMs, 600_000) + 5000
}

/** A volume's time changes while it is in use. */
const timeOf = (ask: Ask, entry: TableEntry): number =>
  ask.type === 'attach' ? deadConnectionMs(ask.wish.ioTimeoutMs) : entry.deadConnectionMs

function whyRefused(entry: TableEntry, wish: DeviceWish): Step | undefined {
  const { volumeId: volume, generation } = entry
  if (wish.generation < generation) {
    return { do: 'refuse', code: 'device-generation', detail: { volume, asked: wish.generation, generation } }
  }
  const { readOnly } = newEntry(wish)
  const isOther = wish.generation === generation && entry.state !== 'detaching' && readOnly !== entry.readOnly
  if (!isOther) return undefined
  const detail = { volume, how: entry.readOnly ? 'for reading only' : 'for writing' }
  return { do: 'refuse', code: 'device-otherwise', detail }
}

function detaching(view: DeviceView, ask: Ask): Step {
  const device = ownIndex(view)
  // Looked at once more: somebody may have begun to use it since a keeper was killed here.
  return device === undefined ? { do: 'remove' } : whyBusy(view, ask) ?? { do: 'disconnect', index: device.index }
}

/** Under a later attachment it answers nothing but errors: nobody loses by its end. */
function whyBusy(view: DeviceView, ask: Ask): Step | undefined {
  const isForced = ask.type === 'over' || (ask.type === 'detach' && ask.force)
    || (ask.type === 'attach' && ask.wish.generation > view.entry!.generation)
  const device = ownIndex(view)
  if (isForced || view.isSuperseded || device === undefined) return undefined
  const users = view.usersOf(device.index)
  if (users.length === 0) return undefined
  return { do: 'refuse', code: 'device-busy', detail: { path: `/dev/nbd${device.index}`, by: users.join(', ') } }
}

function attaching(view: DeviceView, entry: TableEntry, ask: Ask): Step {
  const { sockets } = view
  const device = ownIndex(view)
  if (device !== undefined) return { do: 'save', entry: { ...entry, state: 'attached', device: placeOf(device) } }
  if (ask.type === 'resize') return { do: 'refuse', code: 'device-absent', detail: {} }
  // Who asked for it asks again, or lets go of it.
  if (ask.type === 'keep') return { do: 'done' }
  const wishedMs = timeOf(ask, entry)
  if (wishedMs !== entry.deadConnectionMs) return { do: 'save', entry: { ...entry, deadConnectionMs: wishedMs } }
  if (sockets.ready < entry.connections) return { do: 'dial', count: entry.connections - sockets.ready }
  const { sizeBytes, blockSizeBytes, flags } = sockets.facts!
  // Apart from what was wished, which a repeated wish is compared with.
  const isServedReadOnly = (flags & NBD_FLAG_READ_ONLY) !== 0
  const isTold = entry.sizeBytes === sizeBytes && entry.blockSizeBytes === blockSizeBytes
    && entry.isServedReadOnly === isServedReadOnly
  return isTold ? { do: 'connect' } : { do: 'save', entry: { ...entry, sizeBytes, blockSizeBytes, isServedReadOnly } }
}

const placeOf = ({ index }: KernelDevice): NbdPlace => ({ kind: 'nbd', index })

function attached(view: DeviceView, entry: TableEntry, ask: Ask): Step {
  const device = ownIndex(view)
  // The host booted, or somebody else disconnected it.
  if (device === undefined) return { do: 'save', entry: { ...entry, state: 'attaching', device: { kind: 'nbd' } } }
  if (ask.type === 'resize' && ask.sizeBytes > entry.sizeBytes) {
    // Before the data process here knows of it, what is behind the former end is answered with errors.
    const { ready, facts } = view.sockets
    if (ready === 0) return { do: 'dial', count: 1 }
    if (facts!.sizeBytes < ask.sizeBytes) return { do: 'wait', for: 'growth' }
    return { do: 'save', entry: { ...entry, sizeBytes: ask.sizeBytes } }
  }
  const { index } = device
  // A size that was noted, and did not come to the kernel.
  if (device.sizeBytes < entry.sizeBytes && device.sizeBytes > 0) {
    return { do: 'reconfigure', index, sizeBytes: entry.sizeBytes }
  }
  const wishedMs = timeOf(ask, entry)
  if (wishedMs !== entry.deadConnectionMs) return { do: 'retime', index, deadConnectionMs: wishedMs }
  const { ready, held, unknown, isSuspect } = view.sockets
  const missing = Math.max(entry.connections - held - unknown, 0)
  const wanted = Math.max(missing, unknown > 0 && isSuspect ? 1 : 0)
  if (wanted > 0 && view.isSuperseded) return { do: 'wait', for: 'superseded' }
  if (wanted > ready) return { do: 'dial', count: wanted - ready }
  if (wanted > 0) return { do: 'reconfigure', index }
  if (device.sizeBytes === 0) return { do: 'wait', for: 'size' }
  return { do: 'done' }
}
