/**
 * The replicated volumes that this node offers its clients, in the worker: by export name, each with one attachment
 * that begins with the first client and is kept until the volume is withdrawn, or held under another generation.
 *
 * An attachment is a session of its own on every copy (SPEC S1), so it is not made before somebody wants it. It begins
 * with the newest configuration that this node knows, and so finds its primary also while the cluster store is away.
 *
 * A client connection belongs to one attachment for good. When that is over (held elsewhere, or its session broke: SPEC
 * S2, S6), the connection stays and everything on it fails, so that its user hears that something happened; it is never
 * closed for that, because a client that connects again by itself would go on as if nothing had been lost. A connection
 * that is made afterwards is a new attachment. In mode `open` it is so at once: it waits for the generation that is
 * being made (`attach-renewal.ts`) as for a primary.
 */
import type { AttachMode, NodeId, VolumeConfig } from '../../engine/replication/configuration.ts'
import type { NodeKeys } from '../../cluster/keys/node-keys.ts'
import { HoldfastError, sentence } from '../../engine/errors.ts'
import type { LogPort } from '../../engine/ports.ts'
import type { VersionedConfig } from '../../engine/replication/copy-port.ts'
import type { Reply } from '../../engine/volume/store-api.ts'
import type { VolumeEncryption } from '../../engine/volume/volume-encryption.ts'
import type { VolumeSpec } from '../../engine/volume/volume-spec.ts'
import { BLOCK_BYTES } from '../../engine/units.ts'
import type { RekeyReport } from '../../cluster/reconcile/node-calls.ts'
import { describeVolume } from '../describe-volume.ts'
import type { ConfigPort } from '../copy/config-port.ts'
import type { VolumeOffer } from '../worker-messages.ts'
import { AttachRenewals } from './attach-renewal.ts'
import { FAILURE_CODE } from './failures.ts'
import { FrontendDevice } from './frontend-device.ts'
import type { FrontendHost } from './frontend-host.ts'
import type { HostedFrontend, SessionFailure } from './hosted-frontend.ts'

export interface OfferedVolumesOptions {
  node: NodeId
  configs: ConfigPort
  frontends: FrontendHost
  keys: Pick<NodeKeys, 'tryOpen'>
  log: LogPort
  /** Of this start of the daemon, as no other in the cluster has; below 2^24. */
  startNumber: number
  /** Clients of the export are ended; what they asked for is not answered. */
  endSessions(exportName: string): void
}

/** Attachments of one volume in the life of a daemon. With the number of its start it is a whole number below 2^48. */
const ATTACHMENTS_MAX = 2 ** 24
const REFUSED_EVERY_MS = 10_000

interface Offered {
  offer: VolumeOffer
  /** The newest that was read or told of; what is asked of its primary is judged there. */
  config: VersionedConfig
  /** The highest that was seen given, or is being made: a hint may be older than what was read. */
  highest: number
  mode: AttachMode
  /** Under which this node may attach; undefined: it may not. */
  generation: number | undefined
}

export class OfferedVolumes {
  readonly #o: OfferedVolumesOptions
  readonly #byId = new Map<string, Offered>()
  readonly #byName = new Map<string, string>()
  /** How many there were, by volume; they count on when it is offered again. */
  readonly #attachments = new Map<string, number>()
  readonly #renewals: AttachRenewals
  /** Newest keys of volumes that get others: an offer may be older. */
  readonly #encryptions = new Map<string, VolumeEncryption>()
  readonly #unwatch: () => void
  #refusedAtMs = -Infinity
  #strangeAtMs = -Infinity

  constructor(options: OfferedVolumesOptions) {
    this.#o = options
    const { node, configs, frontends } = options
    const onConfig = (value: VersionedConfig): void => this.#configured(value)
    this.#renewals = new AttachRenewals({ node, configs, clock: frontends.loop, onConfig })
    this.#unwatch = options.configs.watch((value) => this.#configured(value))
  }

  /** Clients find it from the answer on, under what is agreed by then. Refused while it is not known who may attach. */
  offer(offer: VolumeOffer, reply: Reply<undefined>): void {
    const { id, name } = offer.spec
    this.#o.configs.read(id, (read) => {
      const known = this.#byId.get(id)
      if (known !== undefined) {
        this.#change(known, offer)
        if (read.ok && read.value !== undefined) this.#configured(read.value)
        return reply({ ok: true, value: undefined })
      }
      if (!read.ok || read.value === undefined) {
        const reason = read.ok ? 'it has no configuration yet' : 'the cluster store did not answer'
        return reply({ ok: false, error: new HoldfastError('volume-not-ready', { name, reason }) })
      }
      const { config } = read.value
      const { attach: { mode, generation: highest } } = config
      this.#byId.set(id, { offer, config: read.value, generation: generationOf(this.#o.node, config), highest, mode })
      this.#byName.set(name, id)
      this.#renew(this.#byId.get(id)!)
      reply({ ok: true, value: undefined })
    })
  }

  /**
   * The keys of a volume as its record has them; nothing older counts from then on.
   * @param isPass  blocks of former data keys are written anew, by an attachment that is made for it if there is none
   */
  rekey(spec: VolumeSpec, isPass: boolean): RekeyReport {
    const { id, encryption } = spec
    const nothing = { totalBytes: 0, doneBytes: 0, rewrittenBlocks: 0, damagedBlocks: 0, isDone: false }
    const keyCount = encryption?.keys.length ?? 0
    if (encryption !== undefined) this.#encryptions.set(id, encryption)
    const known = this.#byId.get(id)
    if (known === undefined) return { keyCount, why: 'it is not offered there', ...nothing }
    const { frontends } = this.#o
    const why = this.#renew(known)
    if (why !== '') return { keyCount: frontends.frontend(id)?.keyCount ?? 0, why, ...nothing }
    if (!isPass || encryption?.rewriting === undefined) return { keyCount, why: '', ...nothing }
    const current = frontends.frontend(id)
    const frontend = current !== undefined && !isReplaceable(current, known) ? current : this.#attach(known)
    const pass = frontend?.rewriteFormer(encryption.rewriting)
    if (pass === undefined) return { keyCount, why: 'it cannot be written there', ...nothing }
    const { endLba, lba, rewritten: rewrittenBlocks, damaged: damagedBlocks, isDone } = pass
    const [totalBytes, doneBytes] = [endLba * BLOCK_BYTES, lba * BLOCK_BYTES]
    return { keyCount, why: '', totalBytes, doneBytes, rewrittenBlocks, damagedBlocks, isDone }
  }

  /** @returns why its frontend cannot have the keys of its spec; empty: it has, or there is none */
  #renew(known: Offered): string {
    const { id, name } = known.offer.spec
    const newest = this.#encryptions.get(id)
    const { encryption } = known.offer.spec
    if (newest !== undefined && (encryption === undefined || isOlder(encryption, newest)))
      known.offer = { ...known.offer, spec: { ...known.offer.spec, encryption: newest } }
    const frontend = this.#o.frontends.frontend(id)
    if (frontend === undefined || frontend.failed !== undefined || frontend.keyCount === 0) return ''
    const { keys, writesUnder = keys.length }: Pick<VolumeEncryption, 'keys' | 'writesUnder'> = encryptionOf(known)
    const isSame = frontend.keyCount === keys.length && frontend.writesUnder === writesUnder
    if (isSame || frontend.keyCount > keys.length) return ''
    const opened = this.#o.keys.tryOpen(known.offer.spec)
    if (opened.ok) frontend.renewKeys(opened.value!)
    else this.#o.log.event('warn', 'another key of a volume cannot be opened here', { name, why: opened.error.message })
    return opened.ok ? '' : opened.error.message
  }

  withdraw(volumeId: string): void {
    this.#encryptions.delete(volumeId)
    const known = this.#byId.get(volumeId)
    if (known === undefined) return
    this.#byId.delete(volumeId)
    this.#renewals.end(volumeId)
    const { name } = known.offer.spec
    if (this.#byName.get(name) === volumeId) this.#byName.delete(name)
    this.#detach(known)
  }

  /**
   * What a client that asked for this export uses; undefined: it is not offered, or may not be used here.
   * @param generation  it came by the socket of that attachment: it is not served under another one
   */
  device(exportName: string, generation?: number): FrontendDevice | undefined {
    const known = this.#byId.get(this.#byName.get(exportName) ?? '')
    if (known === undefined || (generation !== undefined && known.generation !== generation)) return undefined
    const current = this.#o.frontends.frontend(known.offer.spec.id)
    const isPresent = current !== undefined && !isReplaceable(current, known)
    const frontend = isPresent ? current : this.#attach(known)
    return frontend === undefined ? undefined : new FrontendDevice(frontend)
  }

  /** Which volume an export is; undefined: it is not offered. */
  volume(exportName: string): VolumeSpec | undefined {
    return this.#byId.get(this.#byName.get(exportName) ?? '')?.offer.spec
  }

  #attach(known: Offered): HostedFrontend | undefined {
    const { offer: { spec, ioTimeoutMs }, mode, generation, config } = known
    const former = this.#attachments.get(spec.id) ?? 0
    if (generation === undefined || former === ATTACHMENTS_MAX) return undefined
    const opened = this.#o.keys.tryOpen(spec)
    if (!opened.ok) {
      this.#o.log.event('warn', 'a volume cannot be opened here', { volume: spec.name, why: opened.error.message })
      return undefined
    }
    this.#attachments.set(spec.id, former + 1)
    return this.#o.frontends.attach({
      volumeId: spec.id,
      sizeBytes: spec.sizeBytes,
      blockSizeBytes: spec.blockSizeBytes,
      description: describeVolume(spec),
      compression: spec.compression ?? 'none',
      session: { generation, incarnation: this.#o.startNumber * ATTACHMENTS_MAX + former },
      mode: mode === 'read-only' ? 'read' : 'write',
      ioTimeoutMs,
      known: config,
      onFailed: (code) => this.#failed(spec.id, generation, code),
      keys: opened.value,
      onRefusedBlock: (lba) => this.refusedBlock(known.offer.spec.name, lba),
      onStrangeBlock: (lba) => this.#strangeBlock(known.offer.spec.name, lba),
    })
  }

  close(): void {
    this.#unwatch()
    this.#renewals.close()
  }

  /**
   * Of a volume or a snapshot of it; its reader gets an error. One in a while is told: somebody may have changed all of
   * them.
   */
  refusedBlock(volume: string, lba: number): void {
    const atMs = this.#o.frontends.loop.nowMs()
    if (atMs - this.#refusedAtMs < REFUSED_EVERY_MS) return
    this.#refusedAtMs = atMs
    this.#o.log.event('error', 'a block of an encrypted volume is not what was written there', { volume, lba })
  }

  /** Its reader gets an error. */
  #strangeBlock(volume: string, lba: number): void {
    const atMs = this.#o.frontends.loop.nowMs()
    if (atMs - this.#strangeAtMs < REFUSED_EVERY_MS) return
    this.#strangeAtMs = atMs
    this.#o.log.event('error', 'a primary answered a read with a block that was not asked for', { volume, lba })
  }

  /** The session ended for ever, as a primary said; perhaps before we hear of the configuration that is the reason. */
  #failed(volumeId: string, generation: number, code: SessionFailure): void {
    const known = this.#byId.get(volumeId)
    if (known === undefined) return
    this.#tell(known.offer.spec.name, generation, code)
    if (code === 'stale-session') {
      return this.#o.configs.read(volumeId, (read) => {
        if (read.ok && read.value !== undefined) this.#configured(read.value)
      })
    }
    if (known.mode !== 'open' || known.generation !== generation) return
    known.generation = known.highest = generation + 1
    this.#renewals.renew(volumeId, generation)
  }

  #change(known: Offered, offer: VolumeOffer): void {
    const former = known.offer
    known.offer = offer
    if (former.spec.name !== offer.spec.name) {
      this.#byName.delete(former.spec.name)
      this.#byName.set(offer.spec.name, offer.spec.id)
    }
    const { id, sizeBytes, compression } = offer.spec
    const { ioTimeoutMs } = offer
    const frontend = this.#o.frontends.frontend(id)
    if (former.ioTimeoutMs !== ioTimeoutMs) frontend?.inbox.put({ type: 'timed', ioTimeoutMs })
    if (frontend !== undefined) frontend.compression.mode = compression ?? 'none'
    this.#renew(known)
    if (former.spec.sizeBytes !== sizeBytes) frontend?.inbox.put({ type: 'resized', sizeBytes })
  }

  #configured(value: VersionedConfig): void {
    const { config } = value
    const known = this.#byId.get(config.volumeId)
    if (known === undefined) return
    if (config.epoch >= known.config.config.epoch) known.config = value
    if (config.attach.generation < known.highest) return
    known.highest = config.attach.generation
    const generation = generationOf(this.#o.node, config)
    const { mode: formerMode } = known
    known.mode = config.attach.mode
    if (known.generation === generation) return
    known.generation = generation
    // From open to open there is a new generation only after the former one broke.
    const wasBroken = formerMode === 'open' && config.attach.mode === 'open'
    this.#retire(known, wasBroken ? 'session-broken' : 'stale-session')
  }

  /** Who is connected gets errors from now on, whatever is asked. */
  #retire({ offer: { spec: { id, name } } }: Offered, code: SessionFailure): void {
    const frontend = this.#o.frontends.frontend(id)
    if (frontend === undefined) return
    if (frontend.failed === undefined) this.#tell(name, frontend.generation, code)
    this.#o.frontends.detach(id, code)
  }

  #tell(name: string, generation: number, code: SessionFailure): void {
    const why = sentence(FAILURE_CODE[code], { volume: name })
    this.#o.log.event('warn', 'clients of a volume get errors until they connect anew', { name, generation, why })
  }

  #detach({ offer: { spec } }: Offered): void {
    if (this.#o.frontends.frontend(spec.id) === undefined) return
    this.#o.endSessions(spec.name)
    this.#o.frontends.detach(spec.id)
  }
}

const encryptionOf = ({ offer: { spec } }: Offered): Pick<VolumeEncryption, 'keys' | 'writesUnder'> =>
  spec.encryption ?? { keys: [] }

/** Of one volume: fewer keys, or a step less. */
const isOlder = (one: VolumeEncryption, than: VolumeEncryption): boolean =>
  one.keys.length < than.keys.length
  || (one.keys.length === than.keys.length && one.writesUnder !== undefined && than.writesUnder === undefined)

/** Whether a client that comes now gets another attachment. Without another generation it would break again. */
function isReplaceable(current: HostedFrontend, known: Offered): boolean {
  if (current.failed === undefined) return false
  return current.failed !== 'session-broken' || current.generation !== known.generation
}

function generationOf(node: NodeId, { attach }: VolumeConfig): number | undefined {
  return attach.mode === 'open' ? attach.generation : attach.holders[node]
}
