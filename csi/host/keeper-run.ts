/**
 * The device keeper as a process of a host: one for each state folder, whose lock is held for as long as it runs.
 * SIGTERM ends it and leaves devices as they are; the next one goes on with them.
 *
 * Memory reclaim may wait for what it re-supplies, so it is no one to wait for reclaim (PR_SET_IO_FLUSHER), and its
 * code stays in memory.
 */
import fs from 'node:fs'
import path from 'node:path'
import { errnoName, lockCode, lockExclusive, setIoFlusher } from '../../cluster/libc.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { DeviceKeeper } from './device-keeper.ts'
import type { DeviceKeeperOptions } from './device-keeper.ts'
import { DeviceTable } from './device-table.ts'
import { KernelPort } from './kernel-port.ts'
import { serveKeeper } from './keeper-service.ts'
import { tellUdev } from './udev-rules.ts'

export const DEFAULT_STATE = '/var/lib/holdfast/host'
const GRACE_MS = 200

export interface RunningKeeper {
  devices: DeviceKeeper
  close(): Promise<void>
}

export interface KeeperOptions extends Pick<DeviceKeeperOptions, 'log' | 'onBug' | 'isOver'> {
  stateFolder: string
}

/** @throws HoldfastError `keeper-running`, `keeper-state`, or of its socket */
export async function runKeeper({ stateFolder, ...given }: KeeperOptions): Promise<RunningKeeper> {
  const { log, onBug } = given
  const lock = lockState(stateFolder)
  const flusher = setIoFlusher() < 0 ? 'refused' : 'set'
  const udev = tellUdev()
  if (typeof udev === 'object') log.event('warn', 'udev cannot be told to leave our devices alone', udev)
  const table = new DeviceTable(stateFolder)
  const devices = new DeviceKeeper({ port: new KernelPort(), table, ...given })
  const server = await serveKeeper(stateFolder, devices, onBug)
  devices.start()
  const locked = lockCode()
  const code = locked < 0 ? `not locked (${errnoName(-locked)})` : 'locked'
  const { length } = await devices.list()
  log.event('info', 'the keeper of devices runs', { pid: process.pid, devices: length, flusher, code })
  return {
    devices,
    close: async () => {
      await server.close(GRACE_MS)
      await devices.close()
      fs.closeSync(lock)
    },
  }
}

function lockState(stateFolder: string): number {
  const file = path.join(stateFolder, 'keeper.lock')
  let fd: number
  try {
    fs.mkdirSync(stateFolder, { recursive: true, mode: 0o700 })
    fd = fs.openSync(file, 'a+', 0o600)
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? String(error)
    throw new HoldfastError('keeper-state', { path: stateFolder, reason }, { cause: error })
  }
  if (lockExclusive(fd) < 0) {
    const pid = fs.readFileSync(file, 'utf8').trim() || 'unknown'
    fs.closeSync(fd)
    throw new HoldfastError('keeper-running', { path: stateFolder, pid })
  }
  fs.ftruncateSync(fd, 0)
  fs.writeSync(fd, `${process.pid}\n`)
  return fd
}
