/**
 * The gRPC server of a unix socket that the sidecars and kubelet ask, of `holdfast csi controller` and of `holdfast csi
 * node`. Every call is told in one line when it ends, with its request as `shownRequest` leaves it; what every sidecar
 * asks again and again (Probe, capabilities) only when it fails. A refusal is a CsiRefusal or a HoldfastError; anything
 * else is a bug: INTERNAL for the caller, the whole of it for the log, and the process goes on, as it keeps nothing.
 */
import { rmSync } from 'node:fs'
import { Server, ServerCredentials, status } from '@grpc/grpc-js'
import type {
  ServiceDefinition, UntypedServiceImplementation, handleServerStreamingCall, handleUnaryCall,
} from '@grpc/grpc-js'
import { listenUnix } from '../cluster/api/grpc-server.ts'
import { stopServer } from '../cluster/stop-server.ts'
import { CsiRefusal, refusalOf } from './refusal.ts'
import { shownRequest } from './shown-request.ts'

/** A request has names, parameters and secrets; kubelet and sidecars refuse to send what is longer. */
const REQUEST_BYTES_MAX = 1024 * 1024
const STREAMS_MAX = 1000
const ROUTINE = new Set(['Probe', 'GetPluginInfo', 'GetPluginCapabilities', 'ControllerGetCapabilities',
  'GroupControllerGetCapabilities', 'NodeGetCapabilities', 'NodeGetInfo', 'NodeGetVolumeStats', 'GetCapacity'])

export interface CsiService {
  definition: ServiceDefinition
  /** By the name of the RPC. */
  calls: Record<string, (request: never) => Promise<unknown>>
  /** The same of those that answer many times; ended when nobody listens any more. */
  streams?: Record<string, (request: never) => AsyncIterable<unknown>>
}

export interface CsiServer {
  /** Stop accepting, let running calls end for `graceMs`, then drop them. The socket is gone afterwards. */
  close(graceMs: number): Promise<void>
}

export interface CsiServerOptions {
  socketPath: string
  services: readonly CsiService[]
  /** One line. */
  log(line: string): void
}

/** @throws HoldfastError `listen`. A socket that is there was left by a process before this one. */
export async function serveCsi({ socketPath, services, log }: CsiServerOptions): Promise<CsiServer> {
  const server = new Server({
    'grpc.max_receive_message_length': REQUEST_BYTES_MAX,
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': STREAMS_MAX,
    'grpc.enable_channelz': 0,
  })
  for (const { definition, calls, streams = {} } of services) {
    const implementation: UntypedServiceImplementation = {}
    for (const [rpc, run] of Object.entries(calls)) implementation[rpc] = unary(told(definition, rpc, log), run)
    for (const [rpc, run] of Object.entries(streams)) implementation[rpc] = streaming(told(definition, rpc, log), run)
    server.addService(definition, implementation)
  }
  rmSync(socketPath, { force: true })
  const { injectConnection } = server.createConnectionInjector(ServerCredentials.createInsecure())
  const listener = await listenUnix(socketPath, injectConnection)
  return {
    close: async (graceMs) => {
      const closed = new Promise<void>((resolve) => listener.close(() => resolve()))
      await stopServer(server, graceMs)
      await closed
    },
  }
}

type Told = (request: object) => (error?: unknown) => { code: status; details: string }

/** A call begins; what is given back ends it, and says what its caller is told. */
function told(definition: ServiceDefinition, rpc: string, log: (line: string) => void): Told {
  const message = (definition[rpc] as unknown as { requestType: { type: { name: string } } }).requestType.type.name
  return (request) => {
    const begunAtMs = performance.now()
    return (error) => {
      const refusal = error === undefined ? undefined : refusalOf(error)
        ?? new CsiRefusal(status.INTERNAL, `${rpc} hit a bug of Holdfast's own; the log of this process has it`)
      const code = refusal?.code ?? status.OK
      if (code !== status.OK || !ROUTINE.has(rpc)) {
        const ms = Math.round(performance.now() - begunAtMs)
        const why = refusal === undefined ? '' : `: ${refusal.message}`
        log(`${rpc} ${status[code]} in ${ms} ms ${shownRequest(message, request)}${why}`)
      }
      if (error instanceof Error && refusalOf(error) === undefined) log(error.stack ?? String(error))
      return { code, details: refusal?.message ?? '' }
    }
  }
}

function unary(begins: Told, run: CsiService['calls'][string]): handleUnaryCall<object, unknown> {
  return ({ request }, answer) => {
    const ended = begins(request)
    const done = async (): Promise<unknown> => run(request as never)
    done().then((response) => {
      ended()
      answer(null, response)
    }, (error: unknown) => answer(ended(error)))
  }
}

function streaming(
  begins: Told, run: NonNullable<CsiService['streams']>[string],
): handleServerStreamingCall<object, unknown> {
  return (call) => {
    const ended = begins(call.request)
    const drained = (): Promise<void> => new Promise((resolve) => {
      const wake = (): void => {
        call.off('drain', wake).off('cancelled', wake)
        resolve()
      }
      call.on('drain', wake).on('cancelled', wake)
    })
    const answer = async (): Promise<void> => {
      for await (const part of run(call.request as never)) {
        if (!call.cancelled && !call.write(part)) await drained()
        if (call.cancelled) return
      }
      call.end()
    }
    answer().then(() => ended(), (error: unknown) => void call.emit('error', ended(error)))
  }
}
