/**
 * A whole NBD server over volumes in memory, or others that tests bring, in one thread: listener and transmissions
 * wired together as the daemon wires them over threads. For tests and benchmarks; runs alone as
 *   node test/nbd-server.ts SOCKET [SIZE_BYTES]
 * and then exports `disk`, prints `ready`, and ends with its standard input or SIGTERM.
 */
import { NbdListener } from '../dataplane/nbd/listener.ts'
import type { ExportInfo, LISTENER_LIMITS } from '../dataplane/nbd/listener.ts'
import type { TRANSMISSION_LIMITS } from '../dataplane/nbd/request-admission.ts'
import { Transmission } from '../dataplane/nbd/transmission.ts'
import type { CloseReason, SessionMemory } from '../dataplane/nbd/transmission.ts'
import type { RequestMeter } from '../dataplane/meters/request-meter.ts'
import type { BlockDevice } from '../engine/volume/block-device.ts'
import type { QosGate } from '../engine/volume/qos-gate.ts'
import { MemoryDevice } from './memory-device.ts'

/** One for all sessions, or one made for each. */
type Served = MemoryDevice | (() => BlockDevice)

export class MemoryServer {
  readonly listener: NbdListener
  readonly devices = new Map<string, Served>()
  readonly transmissions = new Set<Transmission>()
  readonly closed: CloseReason[] = []
  readonly refused: string[] = []

  constructor(options: {
    devices: Record<string, Served>
    limits?: Partial<typeof TRANSMISSION_LIMITS>
    listenerLimits?: Partial<typeof LISTENER_LIMITS>
    memory?: SessionMemory
    /** Of all of them. */
    meter?: RequestMeter
    gateOf?: (exportName: string) => QosGate | undefined
  }) {
    for (const [name, device] of Object.entries(options.devices)) this.devices.set(name, device)
    const list = () => [...this.devices].map(([name, device]) => exportInfo(name, deviceOf(device)))
    this.listener = new NbdListener({
      exports: {
        list,
        find: (name) => name === '' ? list()[0] : list().find((info) => info.name === name),
      },
      ...(options.listenerLimits === undefined ? {} : { limits: options.listenerLimits }),
      onRefused: (reason) => this.refused.push(reason),
      onSession: ({ id, fd, exportName, negotiated, leftover }) => {
        const transmission = new Transmission({
          fd,
          negotiated,
          leftover,
          device: deviceOf(this.devices.get(exportName)!),
          ...(options.limits === undefined ? {} : { limits: options.limits }),
          meter: options.meter,
          gate: options.gateOf?.(exportName),
          ...(options.memory === undefined ? {} : { memory: options.memory }),
          onClose: (reason) => {
            this.listener.sessionEnded(id)
            this.transmissions.delete(transmission)
            this.closed.push(reason)
          },
        })
        this.transmissions.add(transmission)
      },
    })
  }

  async close(): Promise<void> {
    await this.listener.close()
    const ended = [...this.transmissions].map((transmission) => new Promise<void>((resolve) => {
      transmission.drain(resolve)
      transmission.destroy()
    }))
    for (const device of this.devices.values()) if (device instanceof MemoryDevice) device.stepAll()
    await Promise.all(ended)
  }
}

const deviceOf = (served: Served): BlockDevice => (typeof served === 'function' ? served() : served)

function exportInfo(name: string, device: BlockDevice): ExportInfo {
  const { sizeBytes, blockSizeBytes, readOnly, description } = device
  return { name, sizeBytes, blockSizeBytes, readOnly, description, worker: 0 }
}

if (import.meta.main) {
  const [socketPath = '', size = String(1 << 30)] = process.argv.slice(2)
  const server = new MemoryServer({ devices: { disk: new MemoryDevice({ sizeBytes: Number(size) }) } })
  await server.listener.listenUnix(socketPath)
  const stop = () => void server.close().then(() => process.exit(0))
  process.on('SIGTERM', stop)
  process.stdin.on('end', stop).resume()
  process.stdout.write('ready\n')
}
