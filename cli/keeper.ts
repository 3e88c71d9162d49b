/**
 * `holdfast keeper` in the foreground, and `holdfast attach` and `detach` on a plain host: a volume becomes a device of
 * this host through the keeper, which is started when none runs and then goes on by itself.
 */
import { spawn } from 'node:child_process'
import { closeSync, constants, mkdirSync, openSync } from 'node:fs'
import { open } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlClient } from '../cluster/api/client.ts'
import { connectControlApi } from '../cluster/api/client.ts'
import type { Volume } from '../cluster/api/volume-messages.ts'
import { collectStart } from '../cluster/start-garbage.ts'
import { FILE_SYSTEMS } from '../csi/host/file-systems.ts'
import type { DeviceWish, HostDevice } from '../csi/host/host-devices.ts'
import { DEFAULT_STATE, runKeeper } from '../csi/host/keeper-run.ts'
import { RemoteDevices, keeperSocket } from '../csi/host/keeper-service.ts'
import { heldData } from '../csi/volume-content.ts'
import { withCompileCache } from '../dataplane/compile-cache.ts'
import { keepMemorySecret } from '../dataplane/memory-secrecy.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { checkMountable, mountOn, unmountNoted } from './device-mount.ts'
import type { MountOrder } from './device-mount.ts'
import { findEndpoint } from './endpoint.ts'
import { MEMORY_FLAGS, takeMemoryFlags } from './memory-flags.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'

const MAIN = path.join(import.meta.dirname, 'main.ts')
const START_MS = 60_000
const LOOK_MS = 50

const stateOf = (given: Arguments): string => path.resolve(given.text('state') ?? DEFAULT_STATE)

/** JSON lines on standard output, until SIGTERM or SIGINT. */
export async function keepDevices({ arguments: given }: Invocation): Promise<number> {
  keepMemorySecret({ holdsKeys: false })
  takeMemoryFlags()
  const say = (level: string, message: string, fields: object): void => {
    process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), level, message, ...fields })}\n`)
  }
  const onBug = (error: unknown): void => {
    say('error', 'a bug ends the keeper', { stack: error instanceof Error ? error.stack : String(error) })
    process.exit(EXIT_FAILED)
  }
  process.on('uncaughtException', onBug)
  const keeper = await runKeeper({ stateFolder: stateOf(given), log: { event: say }, onBug })
  collectStart()
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(name, () => resolve(name))
  })
  await keeper.close()
  say('info', 'the keeper of devices ends; devices stay as they are', { signal })
  process.exit(EXIT_OK)
}

async function answers(devices: RemoteDevices): Promise<HoldfastError | undefined> {
  try {
    await devices.list()
    return undefined
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'unreachable') return error
    throw error
  }
}

/** In a session of its own, so that it outlives this command and its terminal. */
function startKeeper(stateFolder: string): void {
  mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
  const log = openSync(path.join(stateFolder, 'keeper.log'), 'a', 0o600)
  const words = [...MEMORY_FLAGS, MAIN, 'keeper', '--state', stateFolder]
  const env = withCompileCache(process.env)
  spawn(process.execPath, words, { detached: true, stdio: ['ignore', log, log], cwd: '/', env }).unref()
  closeSync(log)
}

async function withKeeper<T>(stateFolder: string, work: (devices: RemoteDevices) => Promise<T>): Promise<T> {
  const devices = new RemoteDevices(stateFolder)
  try {
    let absent = await answers(devices)
    if (absent !== undefined) startKeeper(stateFolder)
    for (const startedMs = performance.now(); absent !== undefined; absent = await answers(devices)) {
      if (performance.now() - startedMs > START_MS) {
        const reason = `none began to run; ${path.join(stateFolder, 'keeper.log')} may say why`
        throw new HoldfastError('keeper-absent', { path: keeperSocket(stateFolder), reason })
      }
      await sleep(LOOK_MS)
    }
    return await work(devices)
  } finally {
    devices.close()
  }
}

interface Daemon {
  control: ControlClient
  /** That of this host. */
  nodeFolder: string
  node: string
}

/** A device is made through the data process of this very host. */
async function withOwnNode<T>(given: Arguments, work: (daemon: Daemon) => Promise<T>): Promise<T> {
  const endpoint = await findEndpoint(given.text('endpoint'))
  const nodeFolder = path.dirname(path.resolve(endpoint.socketPath))
  const control = connectControlApi(endpoint)
  try {
    return await work({ control, nodeFolder, node: path.basename(nodeFolder) })
  } finally {
    control.close()
  }
}

interface Wanted {
  mode: string
  mount: Omit<MountOrder, 'heldData'> | undefined
}

async function makeDevice(
  stateFolder: string, { control, nodeFolder, node }: Daemon, before: Volume, { mode, mount }: Wanted,
): Promise<HostDevice> {
  const { name, id: volumeId } = before
  const isHeld = before.attach.holders.some((holder) => holder.node === node)
  const { attach, ioTimeoutMs } = await control.attachVolume({ name, node, mode, force: false })
  const { generation } = attach.holders.find((holder) => holder.node === node)!
  const wish: DeviceWish = { volumeId, generation, mode: attach.mode as DeviceWish['mode'], nodeFolder, ioTimeoutMs }
  try {
    if (mount !== undefined) checkMountable(name, wish.mode)
    return await withKeeper(stateFolder, async (devices) => {
      const attached = await devices.attach(wish)
      const isGrown = before.sizeBytes > attached.sizeBytes
      const device = isGrown ? await devices.resize(volumeId, before.sizeBytes) : attached
      if (mount !== undefined) await mountOn(devices, device, { ...mount, heldData: () => heldData(control, name) })
      return device
    })
  } catch (error) {
    // As it was before; the first failure is the one to be told. A device that is there is the user's to let go of.
    const isDevice = await withKeeper(stateFolder, (devices) => devices.find(volumeId)).then(
      (device) => device?.state === 'attached', () => false)
    if (!isHeld && !isDevice) await control.detachVolume({ name, node }).catch(() => undefined)
    throw error
  }
}

function mountOrder(name: string, given: Arguments): Wanted['mount'] {
  const [folder, asked] = [given.text('mount'), given.text('fs-type')]
  const fsType = FILE_SYSTEMS.find((one) => one === (asked ?? 'ext4'))
  if (fsType === undefined) throw usageError(`file system ${asked} is not known`, `use ${FILE_SYSTEMS.join(' or ')}`)
  return folder === undefined ? undefined : { name, folder: path.resolve(folder), fsType }
}

export async function attachDevice({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const stateFolder = stateOf(given)
  const mount = mountOrder(name, given)
  const device = await withOwnNode(given, async (daemon) => {
    const before = await daemon.control.getVolume({ name })
    return makeDevice(stateFolder, daemon, before, { mode: given.text('mode') ?? '', mount })
  })
  const where = mount === undefined ? '' : `, mounted on ${mount.folder}`
  const { path: devicePath, generation } = device
  output.result({ name, ...device }, () => [`volume ${name} is ${devicePath} (generation ${generation})${where}`])
  return EXIT_OK
}

/** Swap, and file systems of which /sys shows nothing, have a device to themselves; the keeper opens none to see it. */
async function refuseClaimed(devicePath: string): Promise<void> {
  try {
    await (await open(devicePath, constants.O_RDONLY | constants.O_EXCL)).close()
  } catch (error) {
    // Any other error is no reason to keep it.
    if ((error as NodeJS.ErrnoException).code !== 'EBUSY') return
    throw new HoldfastError('device-busy', { path: devicePath, by: 'somebody has it to himself' })
  }
}

export async function detachDevice({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const volume = await withOwnNode(given, async ({ control, node }) => {
    const { id, attach } = await control.getVolume({ name })
    await withKeeper(stateOf(given), async (devices) => {
      const device = await devices.find(id)
      if (device === undefined) return
      // Held under another generation, or not at all: it answers nothing but errors, whoever uses it.
      const { generation } = device
      const force = !attach.holders.some((one) => one.node === node && one.generation === generation)
      await unmountNoted(devices, name, device)
      if (!force && device.state === 'attached') await refuseClaimed(device.path)
      await devices.detach(id, { force })
    })
    const isHeld = attach.holders.some((holder) => holder.node === node)
    return isHeld ? control.detachVolume({ name, node }) : control.getVolume({ name })
  })
  output.result(volume, () => [`volume ${name} is no device of this host any more`])
  return EXIT_OK
}
