/**
 * The daemon of a node, main thread: control only. Reads its start order from the supervisor, opens the data workers,
 * the NBD listeners and the control API, hands accepted sockets to workers, and stops in order:
 *
 *   start  folder identity -> workers open their stores -> exports known -> NBD sockets -> control API -> ready
 *   stop   exports refused, listeners and API closed -> sessions drained -> stores checkpointed -> exit 0
 *
 * Nothing is printed unless the start is refused, and then one sentence. Everything else is in daemon.log.
 */
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import { AuditTrail } from '../cluster/api/audit-trail.ts'
import type { ControlApi } from '../cluster/api/definition.ts'
import { serveControlApi } from '../cluster/api/server.ts'
import type { DiffSnapshots } from '../cluster/api/snapshot-diff.ts'
import type { ApiServer } from '../cluster/api/server.ts'
import { nbdUris } from '../cluster/api/volume-view.ts'
import { KeyFolder } from '../cluster/keys/key-folder.ts'
import { NodeKeys } from '../cluster/keys/node-keys.ts'
import { readKeyFile } from '../cluster/keys/user-key.ts'
import type { NodeDetails, UsedBy } from '../cluster/reconcile/node-calls.ts'
import { collectStart } from '../cluster/start-garbage.ts'
import type { TlsFolder } from '../cluster/tls/tls-folder.ts'
import { ERRORS, HoldfastError } from '../engine/errors.ts'
import type { Result } from '../engine/volume/store-api.ts'
import { AttachmentSockets } from './attachment-sockets.ts'
import { AuditLog } from './audit-log.ts'
import { requireCipher } from './cipher/libcrypto.ts'
import { describeChecksum, requireNativeChecksum } from './checksum.ts'
import { joinCluster } from './cluster-join.ts'
import type { JoinedCluster } from './cluster-join.ts'
import { ClusterNode } from './cluster-node.ts'
import type { ClusterNodeOptions } from './cluster-node.ts'
import { ControlPlane } from './control-plane.ts'
import { findHomes } from './copy-homes.ts'
import { SCRUB_DEFAULTS } from './copy/scrub-options.ts'
import { DEFAULT_TIMING } from './copy/timing.ts'
import { DaemonLog } from './daemon-log.ts'
import { describeDisks } from './disk-description.ts'
import type { DisksDescription } from './disk-description.ts'
import { checkDisk, prepareDisk, releaseDisk } from './disk-preparation.ts'
import type { PreparedDisk } from './disk-preparation.ts'
import { EXIT, STOP_DEADLINE_MS } from './daemon-start.ts'
import type { FromDaemon, Ready, StartOrder } from './daemon-start.ts'
import { VolumeExports } from './export-directory.ts'
import { errnoName, lockCode, peerUid } from '../cluster/libc.ts'
import { setParentDeathSignal, trimHeap } from './libc.ts'
import { keepMemorySecret } from './memory-secrecy.ts'
import { checkDisks, knownOptions, openDisks, rememberSeen } from './lost-disks.ts'
import type { OpenedDisks } from './lost-disks.ts'
import type { MetricsServer } from '../cluster/metrics/http-server.ts'
import { NodeMetrics } from './node-metrics.ts'
import { NbdListener } from './nbd/listener.ts'
import type { NodeConfig, TcpAddress } from './node-config.ts'
import { NodeControl, processFacts } from './node-control.ts'
import type { NodeFacts } from './node-control.ts'
import { NodeDisks } from './node-disks.ts'
import { openNodeTls } from './node-tls.ts'
import { addedDisks, nodeIdentity, nodePaths, rememberDisk } from './node-folder.ts'
import type { NodeIdentity, NodePaths } from './node-folder.ts'
import { diffSnapshots } from './snapshot-diff.ts'
import { snapshotName } from './snapshot-exports.ts'
import { SuspectDisks, suspectDisks } from './suspect-disks.ts'
import { version } from './version.ts'
import { WorkerThread } from './worker-thread.ts'
import type { DiskOption, ReplicationStart, SessionReport } from './worker-messages.ts'

/** Of the two seconds a clean stop may take. */
const DRAIN_MS = 1000
const API_GRACE_MS = 200
const SIGKILL = 9

/** Disks of the configuration, and those added while an earlier daemon ran. The configuration wins. */
function allDisks(config: NodeConfig, paths: NodePaths): DiskOption[] {
  const configured = new Set(config.disks.map(({ path }) => path))
  return [...config.disks, ...addedDisks(paths.disks).filter(({ path }) => !configured.has(path))]
}

/** Sessions name the export they opened. */
function usedVolumes(sessions: readonly SessionReport[], exports: VolumeExports): UsedBy[] {
  const used: UsedBy[] = []
  for (const { volume, session, generation } of sessions) {
    const volumeId = exports.idOf(volume) ?? exports.snapshots?.idOf(volume)
    const snapshot = snapshotName(volume)?.snapshot ?? ''
    if (volumeId !== undefined) used.push({ volumeId, session: String(session), generation, snapshot })
  }
  return used
}

function unwrap<T>(result: Result<T>): T {
  if (!result.ok) throw result.error
  return result.value
}

class Daemon {
  readonly #order: StartOrder
  readonly #paths: NodePaths
  readonly #log: DaemonLog
  readonly #audit: AuditTrail
  #workers: WorkerThread[] = []
  #listener: NbdListener | undefined
  #api: ApiServer | undefined
  #cluster: ClusterNode | undefined
  #control: ControlPlane | undefined
  readonly #metrics: NodeMetrics
  /** Of this process: 32 hex digits. */
  readonly #instance = randomBytes(16).toString('hex')
  #metricsServer: MetricsServer | undefined
  /** Undefined: plain text. */
  #tls: TlsFolder | undefined
  #stopping = false

  constructor(order: StartOrder) {
    this.#order = order
    const { name, dir, cluster } = order.config
    this.#paths = nodePaths(dir, name)
    this.#metrics = new NodeMetrics({ node: name, version: version(), instance: this.#instance, store: cluster?.store })
    this.#log = new DaemonLog({ file: this.#paths.log, node: order.config.name })
    const audit = new AuditLog({ file: this.#paths.audit, node: name, log: this.#log })
    this.#audit = new AuditTrail(audit)
    this.#metrics.auditFailures = () => audit.failures
  }

  /** Our own mistake: the evidence goes to the log, the process ends, the supervisor starts another. */
  readonly bug = (error: unknown): void => {
    const stack = error instanceof Error ? error.stack ?? error.message : String(error)
    this.#log.event('error', 'a bug ends this daemon', { stack })
    process.exit(EXIT.BUG)
  }

  async start(): Promise<Ready> {
    const { config, ioFlusher } = this.#order
    const paths = this.#paths
    requireNativeChecksum()
    this.#metrics.tls = this.#tls = openNodeTls(config.tls, config.name, this.#log)
    await this.#showMetrics(config.listenMetrics)
    const joined = await this.#join()
    const identity = joined === undefined ? nodeIdentity(paths.identity) : joined
    const { clusterId, nodeId } = identity
    const clusterKey = config.clusterKey === undefined ? undefined : readKeyFile(config.clusterKey)
    const instance = this.#instance
    const exports = new VolumeExports()
    const listener = new NbdListener({
      exports,
      onSession: (session) => this.#workers[session.worker]!.session(session),
      // Which of them has the volume is known behind the handshake only.
      onSecure: (arrival) => this.#workers[arrival.id % this.#workers.length]!.secureNbd(arrival),
      onRefused: (reason) => this.#log.event('info', 'an NBD handshake was refused', { reason }),
    })
    this.#listener = listener
    const attachments = new AttachmentSockets({
      folder: paths.attached, listener, exportsOf: (volumeId) => exports.only(volumeId), log: this.#log,
    })
    const node = { nodeName: config.name, clusterId, nodeId }
    const opening = (disk: DiskOption, adopt: boolean) =>
      prepareDisk(disk, node, config.workers, adopt, joined?.address)
    const prepare = (disk: DiskOption, adopt: boolean) => unwrap(opening(disk, adopt))
    const { disks, lost } = await this.#openDisks((disk) => opening(disk, false), joined !== undefined)
    const { workers } = config
    const homes = joined === undefined ? new Map<string, number>()
      : await findHomes({ disks, indexDir: paths.index, workers, log: this.#log })
    const barrier = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
    const keys = new NodeKeys({
      node: config.name, folder: new KeyFolder(nodeId), cluster: clusterKey, requireCipher,
    })
    const clusterNode = joined === undefined ? undefined : this.#clusterNode(
      joined, { instance, exports, attachments, homes, keys },
    )
    const replication = joined === undefined ? undefined : this.#replicationStart(joined, { instance, homes, keys })
    this.#workers = Array.from({ length: workers }, (_, worker) => new WorkerThread({
      start: {
        disks, indexDir: paths.index, worker, workers, barrier,
        ...(this.#tls === undefined ? {} : { tls: this.#tls.dir }),
        // One of them shows what no worker has.
        ...(replication === undefined ? {} : { replication: { ...replication, lostDisks: worker === 0 ? lost : [] } }),
      },
      log: this.#log,
      onBug: this.bug,
      onSessionEnded: (session) => listener.sessionEnded(session),
      exports,
      onSession: (session) => this.#workers[session.worker]!.session(session),
      onLeadsChanged: () => this.#control?.changed(),
      ...(clusterNode === undefined ? {} : { onConfigAsk: (ask) => clusterNode.take(worker, ask) }),
    }))
    const reports = await Promise.all(this.#workers.map((worker) => worker.opened()))
    this.#metrics.opened(this.#workers)
    const tcp = await this.#listen(listener, config.listenTcp)
    const facts: NodeFacts = {
      name: config.name,
      zone: config.zone,
      folder: paths.folder,
      clusterId,
      nodeId,
      instanceId: instance,
      version: version(),
      ioFlusher,
      socketPath: paths.nbd,
      tcp,
      isTls: this.#tls !== undefined,
      startedMs: performance.now(),
    }
    if (clusterNode !== undefined) {
      const nodeDisks = new NodeDisks({
        node: config.name,
        workers: () => this.#workers,
        prepare: (disk) => prepare(disk, false),
        release: releaseDisk,
        remember: (disk, prepared) => rememberSeen(paths, disk, prepared),
      })
      const diff: DiffSnapshots = (request) => diffSnapshots(clusterNode, request)
      const control = await this.#controlPlane(joined!, clusterNode, { exports, facts, disks: nodeDisks, diff, keys })
      await clusterNode.start(control.api)
      control.start()
      this.#api = await this.#serveUsers(control.control, diff)
      return this.#ready(disks.length, 0, tcp)
    }
    const control = new NodeControl({
      facts,
      workers: this.#workers,
      exports,
      disks: { prepare, release: releaseDisk },
      rememberDisk: (disk) => rememberDisk(paths.disks, disk),
    })
    for (const [worker, report] of reports.entries()) control.adopt(worker, report.volumes)
    this.#api = await this.#serveUsers(control)
    return this.#ready(disks.length, reports.reduce((sum, { volumes }) => sum + volumes.length, 0), tcp)
  }

  #serveUsers(api: ControlApi, diff?: DiffSnapshots): Promise<ApiServer> {
    const { api: socketPath } = this.#paths
    const options = { socketPath, api, peerUid, audit: this.#audit, onBug: this.bug }
    return serveControlApi(diff === undefined ? options : { ...options, diff })
  }

  #ready(disks: number, volumes: number, tcp: TcpAddress | undefined): Ready {
    const { api, nbd } = this.#paths
    this.#metrics.serving()
    collectStart()
    trimHeap(() => {})
    const locked = lockCode()
    this.#log.event('info', 'ready', {
      code: locked < 0 ? `not locked (${errnoName(-locked)})` : 'locked',
      pid: process.pid,
      version: version(),
      disks,
      volumes,
      startMs: Math.round(performance.now()),
      ioFlusher: this.#order.ioFlusher,
      checksum: describeChecksum().sentence,
    })
    const { listenMetrics } = this.#order.config
    const server = this.#metricsServer
    const metrics = listenMetrics && server && { host: listenMetrics.host, port: server.port }
    return { kind: 'ready', pid: process.pid, apiSocket: api, nbdSocket: nbd, tcp, metrics }
  }

  /** From here on who looks sees what is waited for. The library is loaded where it is used only. */
  async #showMetrics(at: TcpAddress | undefined): Promise<void> {
    if (at === undefined) return
    const { serveMetrics } = await import('../cluster/metrics/http-server.ts')
    this.#metricsServer = await serveMetrics(at, this.#metrics, this.bug)
  }

  /** Undefined: the node is by itself. */
  async #join(): Promise<JoinedCluster | undefined> {
    const { config } = this.#order
    const { cluster } = config
    if (cluster === undefined) return undefined
    const say = (sentence: string): void => {
      process.stderr.write(`holdfast: ${sentence}\n`)
      process.send?.({ kind: 'waits', sentence } satisfies FromDaemon)
    }
    const describe = (identity: NodeIdentity) => this.#describe(identity, cluster.store)
    const check = (identity: NodeIdentity) => this.#check(identity, cluster.store)
    const words = { log: this.#log, say }
    const joined = await joinCluster({ config, cluster, tls: this.#tls, paths: this.#paths, check, describe, ...words })
    this.#metrics.joined()
    return joined
  }

  #check(identity: NodeIdentity, store: string): void {
    const { config } = this.#order
    const options = allDisks(config, this.#paths)
    const node = { ...identity, nodeName: config.name }
    checkDisks({ options, seen: this.#paths.seenDisks, check: (disk) => checkDisk(disk, node, store) })
  }

  /** Before the disks are anybody's: they are given back. */
  async #describe(identity: NodeIdentity, store: string): Promise<DisksDescription> {
    const { config } = this.#order
    const node = { ...identity, nodeName: config.name }
    const options = knownOptions(allDisks(config, this.#paths), this.#paths.seenDisks)
    const disks = options.map((disk) => unwrap(prepareDisk(disk, node, 1, false, store)))
    const found = await describeDisks({ disks, indexDir: this.#paths.index, log: this.#log })
    for (const disk of disks) releaseDisk(disk)
    return unwrap(found)
  }

  #clusterNode(
    joined: JoinedCluster,
    of: Pick<ClusterNodeOptions, 'instance' | 'exports' | 'attachments' | 'homes' | 'keys'>,
  ): ClusterNode {
    const { clusterId } = joined
    const { instance } = of
    const { name, workers } = this.#order.config
    this.#cluster = new ClusterNode({
      node: name,
      joined,
      tls: this.#tls,
      ...of,
      version: version(),
      paths: this.#paths,
      workers,
      worker: (number) => this.#workers[number]!,
      suspects: new SuspectDisks(this.#paths.suspectDisks, this.#log),
      log: this.#log,
      onPeers: (peers) => process.send?.({ kind: 'peers', clusterId, instance, peers } satisfies FromDaemon),
      onRival: (error) => this.refused(error),
      onStore: (isReachable) => (this.#metrics.isStoreReachable = isReachable),
      onBug: this.bug,
    })
    const cluster = this.#cluster
    this.#metrics.differencesOf = (volumeId) => cluster.differencesOf(volumeId)
    return cluster
  }

  async #controlPlane(
    { store, address, clusterId, config }: JoinedCluster,
    local: ClusterNode,
    of: { exports: VolumeExports; facts: NodeFacts; disks: NodeDisks; diff: DiffSnapshots; keys: NodeKeys },
  ): Promise<ControlPlane> {
    const { exports, facts, disks, diff, keys } = of
    const details = (): NodeDetails => ({
      facts: processFacts(facts, this.#workers.length),
      sessions: usedVolumes(local.sessions(), exports),
    })
    this.#control = await ControlPlane.listen({
      node: facts.name,
      instance: facts.instanceId,
      clusterId,
      store,
      storeAddress: address,
      clusterKey: keys.cluster,
      pulse: local.pulse,
      beats: local.beats,
      local,
      listen: config.listenApi,
      tls: this.#tls,
      diff,
      details,
      addDisk: (request) => disks.add(request),
      nbdOf: (volume) => exports.idOf(volume) === undefined ? [] : nbdUris(volume, facts),
      whenOffered: (volumeId, mostMs) => exports.whenOffered(volumeId, mostMs),
      audit: this.#audit,
      isStoreReachable: () => local.isStoreReachable,
      log: this.#log,
      onBug: this.bug,
    })
    const { removed } = this.#control
    exports.whyRemoved = (node, issuedAtMs) => removed.judge(node, issuedAtMs)
    return this.#control
  }

  #replicationStart(
    { clusterId, nodeId, startNumber }: JoinedCluster,
    { instance, homes, keys }: Pick<ClusterNodeOptions, 'instance' | 'homes' | 'keys'>,
  ): Omit<ReplicationStart, 'lostDisks'> {
    const { name: node, scrub = SCRUB_DEFAULTS } = this.#order.config
    const { evidence } = this.#paths
    const timing = DEFAULT_TIMING
    const suspects = suspectDisks(this.#paths.suspectDisks)
    const tls = this.#tls === undefined ? {} : { tls: this.#tls.dir }
    return {
      clusterId, node, instance, startNumber, ...tls, timing, evidenceDir: evidence, scrub, homes,
      suspectDisks: suspects.map(({ uuid, reason }) => ({ uuid, reason })),
      nodeId, clusterKey: keys.cluster?.key.reveal(),
    }
  }

  async #openDisks(prepare: (disk: DiskOption) => Result<PreparedDisk>, isOfCluster: boolean): Promise<OpenedDisks> {
    const { config } = this.#order
    const kept = (option: DiskOption): Result<PreparedDisk> => {
      const prepared = prepare(option)
      return prepared.ok ? { ok: true, value: this.#kept(option, prepared.value) } : prepared
    }
    const options = allDisks(config, this.#paths)
    const seen = this.#paths.seenDisks
    return openDisks({ options, seen, prepare: kept, needsAll: !isOfCluster, log: this.#log })
  }

  /** Pool and tags are written on the disk when it is made; a configuration that says otherwise is told so. */
  #kept({ pool, tags, path }: DiskOption, disk: PreparedDisk): PreparedDisk {
    if (disk.pool !== pool || disk.tags.join() !== tags.join()) {
      const [kept, configured] = [disk, { pool, tags }].map((one) => `${one.pool} ${one.tags.join()}`.trim())
      const message = 'the disk keeps the pool and tags it was made with'
      this.#log.event('warn', message, { disk: path, kept: kept!, configured: configured! })
    }
    return disk
  }

  /** The folder's lock is ours: a socket file that is there was left by a dead daemon. */
  async #listen(listener: NbdListener, tcp: TcpAddress | undefined): Promise<TcpAddress | undefined> {
    rmSync(this.#paths.nbd, { force: true })
    await listener.listenUnix(this.#paths.nbd)
    if (tcp === undefined) return undefined
    const port = this.#tls === undefined ? await listener.listenTcp(tcp) : await listener.listenSecurely(tcp)
    return { host: tcp.host, port }
  }

  /** The world refused: one sentence, and whether another try may help. */
  refused(error: HoldfastError): void {
    this.#log.event('error', error.message, { code: error.code })
    process.stderr.write(`holdfast: ${error.message}\n`)
    process.exit(ERRORS[error.code].retryable ? EXIT.REFUSED_FOR_NOW : EXIT.REFUSED)
  }

  /** First signal: in order, within the deadline. Second: at once; the store is crash-safe. */
  readonly signalled = (signal: NodeJS.Signals): void => {
    if (this.#stopping) {
      this.#log.event('warn', 'a second signal ends the daemon at once', { signal })
      process.exit(EXIT.CLEAN)
    }
    this.#stopping = true
    this.#metrics.stopping()
    const startedMs = performance.now()
    setTimeout(() => {
      this.#log.event('warn', 'the stop took too long and is cut short', { deadlineMs: STOP_DEADLINE_MS })
      process.exit(EXIT.CLEAN)
    }, STOP_DEADLINE_MS)
    this.#stop().then(() => {
      this.#log.event('info', 'stopped', { signal, stopMs: Math.round(performance.now() - startedMs) })
      process.exit(EXIT.CLEAN)
    }, this.bug)
  }

  async #stop(): Promise<void> {
    this.#listener?.refuseNew()
    const listenerClosed = this.#listener?.close()
    await this.#api?.close(API_GRACE_MS)
    await this.#control?.stop(API_GRACE_MS)
    await this.#cluster?.withdrawAll()
    await Promise.all(this.#workers.map(async (worker) => {
      try {
        await worker.call<'stop'>({ kind: 'stop', drainMs: DRAIN_MS })
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error
        this.#log.event('error', 'a store did not stop cleanly', { reason: error.message })
      }
    }))
    this.#cluster?.close()
    this.#metricsServer?.close()
    await listenerClosed
  }
}

async function run(order: StartOrder): Promise<void> {
  setParentDeathSignal(SIGKILL)
  if (process.ppid !== order.supervisorPid) process.exit(EXIT.CLEAN)
  const daemon = new Daemon(order)
  process.on('uncaughtException', daemon.bug)
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, daemon.signalled)
  try {
    const ready = await daemon.start()
    process.send?.(ready)
  } catch (error) {
    if (error instanceof HoldfastError) daemon.refused(error)
    else daemon.bug(error)
  }
}

if (import.meta.main) {
  if (process.send === undefined) {
    process.stderr.write('holdfast: the daemon is started by its supervisor; use `holdfast node`\n')
    process.exit(EXIT.REFUSED)
  }
  keepMemorySecret({ holdsKeys: true })
  process.once('message', (order: StartOrder) => void run(order))
}
