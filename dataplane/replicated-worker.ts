/**
 * A data worker of a node of a cluster: the store under the turns of the worker, its copies, frontends and peers
 * (`replication-worker.ts`), the clients of the volumes that are offered here, and the calls of the main thread.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { isName } from '../cluster/api/names.ts'
import { KeyFolder } from '../cluster/keys/key-folder.ts'
import { NodeKeys } from '../cluster/keys/node-keys.ts'
import { userKeyOf } from '../cluster/keys/user-key.ts'
import type { WorkerFigures } from '../cluster/metrics/figures.ts'
import { collectStart } from '../cluster/start-garbage.ts'
import { unreachable } from '../engine/assert.ts'
import type { SnapshotAnswer, SnapshotQuery } from '../engine/control/volume-snapshots.ts'
import type { ErrorCode } from '../engine/errors.ts'
import type { CommandResult, OperatorCommand } from '../engine/replication/copy-port.ts'
import { SNAPSHOT_USE_MS } from '../engine/replication/snapshot-uses.ts'
import { runTask, type Task } from '../engine/task.ts'
import { digestSlice, shownOfPage } from '../engine/volume/copy-digest.ts'
import type { LocalCopyStore } from '../engine/volume/copy-store.ts'
import { failure } from '../engine/volume/store-api.ts'
import type { Reply, Result } from '../engine/volume/store-api.ts'
import type { DiskStatus } from '../engine/volume/volume-spec.ts'
import { requireCipher } from './cipher/libcrypto.ts'
import { clock } from './clock.ts'
import { homeOf } from './copy-homes.ts'
import { CopyNotes } from './copy-notes.ts'
import { MessageConfigs } from './copy/config-messages.ts'
import { snapshotAnswer } from './copy/snapshot-report.ts'
import { StatusTeller } from './copy/status-changes.ts'
import { StatusLooks } from './copy/status-looks.ts'
import { TurnLoop } from './copy/turn-loop.ts'
import { describeVolume } from './describe-volume.ts'
import { OfferedVolumes } from './frontend/offered-volumes.ts'
import { SnapshotDevice } from './frontend/snapshot-device.ts'
import { copyFigures, damagedReadsOf, withDamagedReads } from './meters/copy-figures.ts'
import { VolumeMeters } from './meters/volume-meters.ts'
import { changeShape } from './peer/message-shapes.ts'
import { ReplicationWorker } from './replication-worker.ts'
import { NbdSessions } from './session-table.ts'
import { openStore } from './store-shell.ts'
import { VolumeGates } from './volume-gates.ts'
import type { StoreShell, StoreShellOptions } from './store-shell.ts'
import { WorkerTls, openWorkerTls, takeTls } from './worker-tls.ts'
import { packError } from './worker-messages.ts'
import type {
  Answer, AnyCall, AnyReplicationCall, FromWorker, OpenReader, ReplicationCallOf, ReplicationStart, ToWorker,
} from './worker-messages.ts'

/** Clients of a volume that is not offered any more, for what they had already asked. */
const END_DRAIN_MS = 500
/** Of the two seconds that a clean stop may take: what is not given away by then is taken over as from a dead node. */
const HAND_OVER_MS = 700
/** What waits to leave for peers when the worker stops. */
const PEER_DRAIN_MS = 200

/** `lost` of a hand-over: another node leads, and not for that. */
const REFUSED_WITH = {
  'not-primary': 'copy-refused', refused: 'copy-refused', lost: 'copy-refused', superseded: 'change-superseded',
  'in-use': 'rollback-in-use', occupied: 'volume-occupied',
} as const satisfies Record<Extract<CommandResult, { ok: false }>['code'], ErrorCode>

/** Of a snapshot that was opened, for the reason of `snapshot-unread`. */
const WHY_UNREAD = {
  'snapshot-gone': 'it was deleted meanwhile', timeout: 'nobody who leads the volume answered in time',
  range: 'it ends before that', damaged: 'no copy can read it', ended: 'the volume is served here no more',
} as const

export interface WorkerPort {
  postMessage(message: FromWorker): void
  on(event: 'message', listener: (message: ToWorker) => void): unknown
}

export async function runReplicatedWorker(
  port: WorkerPort,
  options: Omit<StoreShellOptions, 'clock'>,
  start: ReplicationStart,
): Promise<void> {
  const post = (message: FromWorker): void => port.postMessage(message)
  const loop = new TurnLoop(clock)
  const opened = await openStore({ ...options, clock: loop })
  if (!opened.ok) return post({ kind: 'refused', error: packError(opened.error) })
  const configs = new MessageConfigs((message) => post({ kind: 'config', message }))
  const worker = new ReplicatedWorker({ ...options, loop, shell: opened.value, configs, post }, start)
  port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'call': return worker.run(message.call, answerTo(post, message.id))
      case 'replication-call': return worker.runReplication(message.call, answerTo(post, message.id))
      case 'session': return worker.sessions.add(message.session)
      case 'secure-nbd':
      case 'exports': return takeTls(worker.tls, message)
      case 'ping': return answerTo(post, message.id)({ ok: true, value: undefined })
      case 'figures': return answerTo(post, message.id)({ ok: true, value: worker.figures() })
      case 'config': return configs.receive(message.message)
      case 'peers': return worker.replication.setPeers(message.addresses)
      case 'arrival': return worker.replication.transport.accept(message.arrival)
      default: return unreachable(message)
    }
  })
  const { shell, sessions } = worker
  collectStart()
  post({ kind: 'opened', report: { volumes: [], disks: shell.disks(), sessions: sessions.reports() } })
}

function answerTo(post: (message: FromWorker) => void, id: number): Reply<unknown> {
  return (result) => {
    const answer: Answer<unknown> =
      result.ok ? { ok: true, value: result.value } : { ok: false, error: packError(result.error) }
    post({ kind: 'answer', id, answer })
  }
}

interface Parts extends Omit<StoreShellOptions, 'clock'> {
  loop: TurnLoop
  shell: StoreShell
  configs: MessageConfigs
  post(message: FromWorker): void
}

class ReplicatedWorker {
  readonly shell: StoreShell
  readonly replication: ReplicationWorker
  readonly sessions: NbdSessions
  readonly tls: WorkerTls | undefined
  readonly #offered: OfferedVolumes
  readonly #meters: VolumeMeters
  readonly #gates = new VolumeGates(clock)
  readonly #looks = new StatusLooks()
  readonly #status = new StatusTeller()
  readonly #notes = new CopyNotes()
  /** Since the last status. */
  #saidLeads = false
  readonly #node: string
  readonly #lost: readonly DiskStatus[]
  /** The last one of each volume that is or was led here, and when it came. */
  readonly #holds = new Map<string, { hold: string; sinceMs: number }>()
  readonly #loop: TurnLoop
  readonly #keys: NodeKeys

  constructor({ loop, shell, worker, workers, configs, log, post }: Parts, start: ReplicationStart) {
    const { clusterId, node, instance, startNumber, timing, evidenceDir, scrub, lostDisks, homes } = start
    const cluster = start.clusterKey === undefined ? undefined : userKeyOf(start.clusterKey)
    this.#keys = new NodeKeys({ node, folder: new KeyFolder(start.nodeId), cluster, requireCipher })
    this.shell = shell
    this.#node = node
    this.#lost = lostDisks
    for (const { uuid, reason } of start.suspectDisks) shell.store.suspectDisk(uuid, reason)
    this.#loop = loop
    const folder = openWorkerTls(start.tls, log)
    this.replication = new ReplicationWorker({
      self: { clusterId, node, instance, worker, role: 'worker' },
      tls: folder,
      startNumber,
      loop, store: shell.store, configs, timing, log, evidenceDir, scrub,
      isElsewhere: (volumeId) => homeOf(volumeId, homes, workers) !== worker,
      leadChanged: () => {
        if (!this.#saidLeads) post({ kind: 'leads-changed' })
        this.#saidLeads = true
      },
    })
    this.#meters = new VolumeMeters(clock, ({ id, name }) => this.#offered.volume(name)?.id === id)
    this.sessions = new NbdSessions({
      deviceOf: (exportName, reader, generation) =>
        reader === undefined ? this.#offered.device(exportName, generation) : this.#snapshotDevice(reader),
      onEnded: (session) => post({ kind: 'session-ended', session }),
      meterOf: (exportName) => this.#meters.of(this.#offered.volume(exportName)!),
      gateOf: (exportName) => this.#gates.of(this.#offered.volume(exportName)!.id),
    })
    this.tls = WorkerTls.of({ folder, worker, sessions: this.sessions, log, post })
    this.#offered = new OfferedVolumes({
      node,
      configs,
      frontends: this.replication.frontends,
      keys: this.#keys,
      log,
      startNumber,
      endSessions: (exportName) => void this.sessions.end(exportName, END_DRAIN_MS),
    })
  }

  #disks(): DiskStatus[] {
    const disks = [...this.shell.disks(), ...this.#lost]
    const { copies, structures } = this.replication
    return withDamagedReads(withDamagedReads(disks, damagedReadsOf(copies.copies())), structures.counts())
  }

  figures(): WorkerFigures {
    const { frontends, copies, scrubber } = this.replication
    return {
      attachments: this.#meters.figures((volumeId) => ({
        admit: frontends.frontend(volumeId)?.admitted.figures(),
        compression: frontends.frontend(volumeId)?.compression.figures(),
        qosWaitedMs: this.#gates.waitedMs(volumeId),
      })),
      copies: [...copies.copies()].map((copy) => copyFigures(copy, scrubber.report(copy.store))),
      disks: this.shell.diskFigures(this.#disks()),
    }
  }

  run(call: AnyCall, reply: Reply<unknown>): void {
    if (call.kind === 'stop') return void this.#stop(call.drainMs).then(reply)
    throw new Error(`${call.kind} is for the worker of a node without a cluster`)
  }

  runReplication(call: AnyReplicationCall, reply: Reply<unknown>): void {
    switch (call.kind) {
      case 'make-copy': {
        const { spec, copyId, source } = call
        const { copies } = this.replication
        if (copies.copy(spec.id) !== undefined) {
          return reply(failure('copy-exists', { volume: spec.name, copy: copyId, reason: 'one is there' }))
        }
        return copies.create(spec, copyId, source, (made) => reply(made.ok ? { ok: true, value: undefined } : made))
      }
      case 'erase-copy': {
        const { volumeId, copyId } = call
        const { copies } = this.replication
        if (copies.copy(volumeId)?.state.copyId !== copyId) {
          return reply(failure('copy-not-found', { node: this.#node, volume: volumeId }))
        }
        return copies.remove(volumeId, (removed) => reply(removed.ok ? { ok: true, value: undefined } : removed))
      }
      case 'note': return this.#note(call, reply)
      case 'hand-over': return this.#command(call.volumeId, { type: 'hand-over', to: call.to }, (done) =>
        reply(done.ok ? { ok: true, value: undefined } : done))
      case 'change': {
        const { kind: type, volumeId, ...command } = call
        // In the log of one copy it would never get to another one, which refuses it.
        if (!changeShape(command.change)) {
          const reason = `a ${command.change.operation} with fields that are missing, unknown or out of range`
          return reply(failure('copy-refused', { node: this.#node, volume: volumeId, reason }))
        }
        const heldMs = this.#heldMs(volumeId, command.hold)
        return this.#command(volumeId, { type, ...command }, (done) =>
          reply(done.ok ? { ok: true, value: { ...done.value, heldMs } } : done))
      }
      case 'hold': {
        const { kind: type, volumeId, ...command } = call
        const sinceMs = clock.nowMs()
        return this.#command(volumeId, { type, ...command }, (done) => {
          if (done.ok) this.#holds.set(volumeId, { hold: command.hold, sinceMs })
          reply(done)
        })
      }
      case 'release': return this.#command(call.volumeId, { type: 'release', hold: call.hold }, (done) =>
        reply(done.ok ? { ok: true, value: undefined } : done))
      case 'snapshots': return reply(this.#snapshots(call.query))
      case 'open-snapshot': return this.#openSnapshot(call, reply)
      case 'map-snapshot': return this.#mapSnapshot(call, reply)
      case 'close-snapshot':
        this.replication.readers.close(call.reader)
        return reply({ ok: true, value: undefined })
      case 'clients': {
        const isOf = (exportName: string): boolean => this.#offered.volume(exportName)?.id === call.volumeId
        return this.sessions.clients(isOf, call.mostMs, (generations) => reply({ ok: true, value: generations }))
      }
      case 'scrub': {
        const { volumeId, isDeep } = call
        const isAsked = this.replication.scrubber.ask(volumeId, isDeep ? 'deep' : 'light')
        if (!isAsked) return reply(failure('copy-not-found', { node: this.#node, volume: volumeId }))
        return reply({ ok: true, value: undefined })
      }
      case 'hydrate': {
        const { volumeId } = call
        const store = this.replication.copies.copy(volumeId)?.store
        if (store === undefined) return reply(failure('copy-not-found', { node: this.#node, volume: volumeId }))
        return reply({ ok: true, value: store.hydrate() })
      }
      case 'rekey': return reply({ ok: true, value: this.#offered.rekey(call.spec, call.isPass) })
      case 'digest': return this.#look(call.volumeId, (copy) => digestSlice(copy, call.slice), reply)
      case 'shown': return this.#look(call.volumeId, (copy) => shownOfPage(copy, call.slice, call.page), reply)
      case 'offer': {
        const { spec, ioTimeoutMs, qos } = call
        this.#gates.change(spec.id, qos)
        return this.#offered.offer({ spec, ioTimeoutMs, qos }, reply)
      }
      case 'status': {
        this.#saidLeads = false
        const { copies: hosted, scrubber } = this.replication
        const copies = this.#looks.look(hosted.copies(), ({ store }) => scrubber.report(store), this.#loop.nowMs())
        const changes = this.#status.tell(call.since, { disks: this.#disks(), copies })
        return reply({ ok: true, value: { ...changes, sessions: this.sessions.reports() } })
      }
      case 'add-disk': return this.shell.addDisk(call.disk, [], reply)
      case 'withdraw':
        this.#offered.withdraw(call.volumeId)
        this.#gates.forget(call.volumeId)
        this.#holds.delete(call.volumeId)
        this.replication.readers.endVolume(call.volumeId)
        return reply({ ok: true, value: undefined })
      default: return unreachable(call)
    }
  }

  #look<T>(volumeId: string, task: (copy: LocalCopyStore) => Task<T | undefined>, reply: Reply<unknown>): void {
    const store = this.replication.copies.copy(volumeId)?.store
    if (store === undefined) return reply(failure('copy-not-found', { node: this.#node, volume: volumeId }))
    runTask(task(store), (found) => reply({ ok: true, value: found ?? null }))
  }

  #note({ volumeId, copyId, noted }: ReplicationCallOf<'note'>, reply: Reply<undefined>): void {
    const copy = this.replication.copies.copy(volumeId)
    const refuse = (): void => reply(failure('copy-not-found', { node: this.#node, volume: volumeId }))
    if (copy?.store === undefined || copy.state.copyId !== copyId) return refuse()
    const ended = (ok: boolean): void => (ok ? reply({ ok: true, value: undefined }) : refuse())
    if (this.#notes.note(copy.store, noted, ended)) this.#loop.askForTurn()
  }

  #snapshots(query: SnapshotQuery): Result<SnapshotAnswer> {
    const { copies, scrubber } = this.replication
    return snapshotAnswer(this.#node, copies.copy(query.volumeId), query, scrubber, this.#loop.nowMs())
  }

  #snapshotDevice(reader: number): SnapshotDevice | undefined {
    const { readers } = this.replication
    const found = readers.reader(reader)
    return found === undefined ? undefined : new SnapshotDevice(found, () => readers.close(reader))
  }

  #openSnapshot({ wish, waitMs }: ReplicationCallOf<'open-snapshot'>, reply: Reply<OpenReader | null>): void {
    const { spec, wanted, ioTimeoutMs } = wish
    // Whoever may look can ask for anything: no primary is asked for what is no name (an id looks like one).
    if (!isName(wanted)) return reply({ ok: true, value: null })
    const { id: volumeId, name, blockSizeBytes } = spec
    const { readers } = this.replication
    const opened = this.#keys.tryOpen(spec)
    if (!opened.ok) return reply(opened)
    const keys = opened.value
    const description = `snapshot ${wanted} of ${describeVolume(spec)}`
    let isAnswered = false
    const answerOnce: typeof reply = (result) => {
      if (isAnswered) return
      isAnswered = true
      late.cancel()
      reply(result)
    }
    const onRefusedBlock = (lba: number): void => this.#offered.refusedBlock(name, lba)
    const asked = { wanted, ioTimeoutMs, keys, onRefusedBlock }
    const number = readers.open({ volumeId, blockSizeBytes, description }, asked, (snapshot) =>
      answerOnce({ ok: true, value: snapshot === undefined ? null : { reader: number, snapshot } }))
    const late = this.#loop.after(waitMs, () => {
      if (isAnswered) return
      readers.close(number)
      const reason = `nobody who leads it has answered for ${waitMs / 1000} s`
      answerOnce(failure('volume-unled', { name, reason }))
    })
  }

  #mapSnapshot(
    { reader, lba, blockCount, since }: ReplicationCallOf<'map-snapshot'>,
    reply: Reply<{ runs: number[]; endLba: number }>,
  ): void {
    const found = this.replication.readers.reader(reader)
    const refuse = (reason: string): void => reply(failure('snapshot-unread', { reason }))
    if (found === undefined) return refuse('it is not open here any more')
    found.ask({ type: 'map', lba, blockCount, ...(since === null ? {} : { since }) }, (answer) => {
      if (!answer.ok) return refuse(WHY_UNREAD[answer.code])
      if (answer.type === 'map') reply({ ok: true, value: { runs: answer.runs, endLba: answer.endLba } })
    })
  }

  /** Of a snapshot that comes now, and is ordered in this turn. */
  #heldMs(volumeId: string, hold: string | undefined): number {
    const held = this.#holds.get(volumeId)
    if (hold === undefined || held?.hold !== hold) return 0
    this.#holds.delete(volumeId)
    return clock.nowMs() - held.sinceMs
  }

  #command(volumeId: string, command: OperatorCommand, reply: Reply<{ seq: number }>): void {
    const copy = this.replication.copies.copy(volumeId)
    if (copy === undefined) return reply(failure('copy-not-found', { node: this.#node, volume: volumeId }))
    copy.command(command, (result: CommandResult) => {
      if (result.ok) return reply({ ok: true, value: { seq: result.seq } })
      const { code, why: reason } = result
      if (code === 'in-use' && command.type === 'change' && command.change.operation === 'snapshot-delete') {
        const seconds = SNAPSHOT_USE_MS / 1000
        return reply(failure('snapshot-in-use', { volume: volumeId, snapshot: command.change.id, reason, seconds }))
      }
      if (code === 'lost' && command.type === 'change') {
        return reply(failure('change-outcome', { what: `a ${command.change.operation}`, volume: volumeId, reason }))
      }
      reply(failure(REFUSED_WITH[code], { node: this.#node, volume: volumeId, reason }))
    })
  }

  /** Whoever leads gives the lead away: nobody has to find out that we are gone. */
  async #handOverAll(): Promise<void> {
    const led = [...this.replication.copies.copies()].filter(({ isPrimary }) => isPrimary)
    const ended = led.map((copy) => new Promise<void>((resolve) => {
      const to = copy.state.config!.config.inSync.find((node) => node !== this.#node)
      if (to === undefined) return resolve()
      copy.command({ type: 'hand-over', to }, () => resolve())
    }))
    await Promise.race([Promise.all(ended), sleep(HAND_OVER_MS)])
  }

  async #stop(drainMs: number): Promise<Result<undefined>> {
    await this.#handOverAll()
    this.tls?.close()
    await this.sessions.end(undefined, drainMs)
    this.#offered.close()
    await this.replication.close(PEER_DRAIN_MS)
    return new Promise((resolve) => {
      this.shell.stop((result) => resolve(result.ok ? { ok: true, value: undefined } : result))
    })
  }
}
