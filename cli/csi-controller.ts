/**
 * `holdfast csi controller`: CSI's Controller side on a unix socket, until it is told to end, and what is asked for
 * beside it: schedulers are answered (`--extender`), health is told (`--events`), pods are moved off nodes that died
 * (`--failover`), nodes leave in turn (`--replacement`, `--drain-guard`, `--no-drain-guard`).
 */
import path from 'node:path'
import { connectControlApi } from '../cluster/api/client.ts'
import { diffSnapshots } from '../cluster/api/snapshot-diff.ts'
import { controllerServices } from '../csi/controller/controller-services.ts'
import { NodeProtocols } from '../csi/controller/node-protocols.ts'
import { identityService } from '../csi/identity.ts'
import { Operations } from '../csi/operations.ts'
import { serveCsi } from '../csi/server.ts'
import { keepMemorySecret } from '../dataplane/memory-secrecy.ts'
import { version } from '../dataplane/version.ts'
import { assert } from '../engine/assert.ts'
import { collectStart } from '../cluster/start-garbage.ts'
import { accessOf } from '../cluster/kubernetes/api-access.ts'
import { ApiClient } from '../cluster/kubernetes/api-client.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { startExtender } from './csi-extender.ts'
import { FAILOVER_FLAG, failoverOf } from './csi-failover.ts'
import { claimEvents, tellHealth } from './csi-health.ts'
import { LEAVING_FLAGS, leavingOf } from './csi-leaving.ts'
import { showMetrics } from './csi-metrics.ts'
import { endpointOf } from './endpoint.ts'
import { takeMemoryFlags } from './memory-flags.ts'
import { EXIT_FAILED, EXIT_OK } from './output.ts'

/** Calls under way may end; what asks again finds the next process. */
const GRACE_MS = 10_000
/** A call of the sidecars waits for no longer; they come again. */
const CALL_MS = 60_000

/** `unix:///path`, or a path. @throws HoldfastError `usage` */
export function csiSocketOf(given: Arguments, environment = process.env): string {
  const text = given.text('csi-endpoint') ?? environment.CSI_ENDPOINT ?? ''
  const place = text.replace(/^unix:(\/\/)?/, '')
  if (place.startsWith('/')) return path.normalize(place)
  const hint = 'e.g. --csi-endpoint unix:///csi/csi.sock, or CSI_ENDPOINT'
  if (text === '') throw usageError('the socket for the sidecars is not named', hint)
  throw usageError(`${text} is no absolute path of a unix socket`, hint)
}

const VOLUMES_MAX = 128

/** That a node may hold, for kubelet and the scheduler as for the attacher. @throws HoldfastError `usage` */
export function volumesMaxOf(given: Arguments): number {
  const text = given.text('volumes-max') ?? String(VOLUMES_MAX)
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text)
  throw usageError(`--volumes-max ${text} is no number of volumes`, `e.g. --volumes-max ${VOLUMES_MAX}`)
}

const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${line}\n`)

export async function runCsiController({ arguments: given, output }: Invocation): Promise<number> {
  keepMemorySecret({ holdsKeys: true })
  takeMemoryFlags()
  const socketPath = csiSocketOf(given)
  const volumesMax = volumesMaxOf(given)
  const endpoint = await endpointOf(given)
  const api = connectControlApi(endpoint, CALL_MS)
  const diff = (request: Parameters<typeof diffSnapshots>[1]) => diffSnapshots(endpoint, request)
  const protocols = new NodeProtocols(api)
  const listen = given.text('extender')
  const isTold = given.flag('events')
  const isKube = listen !== undefined || isTold || [...LEAVING_FLAGS, FAILOVER_FLAG].some((one) => given.flag(one))
  const kubernetes = isKube ? new ApiClient(accessOf(given.text('kubeconfig'))) : undefined
  const mayAsk = (): Promise<void> => protocols.check()
  // What listens by now is closed when another one cannot: the process would stay, and do half of what it is for.
  const open: Array<{ close(): void } | undefined> = [kubernetes, api]
  const begun = async <T>(starting: Promise<T>): Promise<T> => {
    try {
      return await starting
    } catch (error) {
      for (const one of open) one?.close()
      throw error
    }
  }
  const extender = listen === undefined ? undefined : await begun(startExtender({
    listen, tls: given.text('extender-tls'), kubernetes: kubernetes!, endpoint, mayAsk, log,
  }))
  open.push(extender)
  const leaving = kubernetes && leavingOf(given, { kubernetes, endpoint, log })
  const failover = kubernetes && failoverOf(given, { kubernetes, endpoint, log })
  const figures = () => ({ leaving: leaving?.figures(), failover: failover?.figures() })
  const metrics = await begun(showMetrics(given.text('listen-metrics'), figures, log))
  open.push(metrics)
  const told = new AbortController()
  const ended = new Promise<void>((resolve) => told.signal.addEventListener('abort', () => resolve()))
  let exitCode = EXIT_OK
  /** It ends the process, which is of no use without that part: who starts it again has all of it. */
  const onBug = (error: unknown): void => {
    log(error instanceof Error ? error.stack ?? error.message : String(error))
    exitCode = EXIT_FAILED
    // What still hangs then does not keep it.
    setTimeout(() => process.exit(EXIT_FAILED), GRACE_MS).unref()
    told.abort()
  }
  const claims = isTold ? claimEvents({ kubernetes: kubernetes!, log, onBug }) : undefined
  const services = [
    identityService({ version: version(), probe: () => protocols.look(), log }),
    ...controllerServices({
      api, diff, operations: new Operations(), volumesMax, mayAsk, log, tellClaim: claims?.tell,
    }),
  ]
  const server = await begun(serveCsi({ socketPath, services, log }))
  const parts: Array<Promise<void>> = []
  if (isTold) parts.push(tellHealth({ kubernetes: kubernetes!, api, mayAsk, log }, told.signal))
  for (const one of [leaving, failover]) if (one !== undefined) parts.push(one.run(told.signal))
  const isTime = (): void => assert(told.signal.aborted, 'a part ends when it is told')
  const beside = parts.map((one) => one.then(isTime).catch(onBug))
  collectStart()
  output.result({ socket: socketPath }, () => [`holdfast csi controller listens at ${socketPath}`])
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => told.abort())
  await ended
  extender?.close()
  metrics?.close()
  await Promise.all([server.close(GRACE_MS), ...beside])
  await claims?.close()
  kubernetes?.close()
  api.close()
  return exitCode
}
