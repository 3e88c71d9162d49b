/**
 * `holdfast volume keys|unlock|lock|rewrap`, and the keys of a volume that is made: everything that touches a user's
 * key is done here, in the process that the user started. What goes to a daemon is wrapped.
 */
import { randomBytes } from 'node:crypto'
import { realpathSync } from 'node:fs'
import path from 'node:path'
import type { ControlClient } from '../cluster/api/client.ts'
import type { Node } from '../cluster/api/node-messages.ts'
import type { VolumeKeys } from '../cluster/api/volume-messages.ts'
import type { CreateVolumeRequest } from '../cluster/api/volume-wish-messages.ts'
import { shown } from '../cluster/api/names.ts'
import { eraseKeys } from '../cluster/keys/data-key.ts'
import { KeyFolder } from '../cluster/keys/key-folder.ts'
import { fileSource, keptKeyOf, newEncryptionBy, openKeys, rekeyBy, rewrapBy } from '../cluster/keys/key-source.ts'
import type { KeySource } from '../cluster/keys/key-source.ts'
import { readKmsConfig } from '../cluster/keys/kms-config.ts'
import { readKeyFile } from '../cluster/keys/user-key.ts'
import { vaultTransit } from '../cluster/keys/vault-transit.ts'
import { decodeEncryption } from '../cluster/store/volume-records.ts'
import { HoldfastError } from '../engine/errors.ts'
import { CIPHERS, wrappedKeyOf } from '../engine/volume/volume-encryption.ts'
import type { VolumeEncryption } from '../engine/volume/volume-encryption.ts'
import { usageError } from './arguments.ts'
import type { Arguments } from './arguments.ts'
import type { Invocation } from './command.ts'
import { candidateSockets, namedEndpoint, withDaemon } from './endpoint.ts'
import { EXIT_OK, fields } from './output.ts'

/** A key in a file, or one that a key server keeps; undefined: none is named. */
export function keySourceOf(given: Arguments, prefix: '' | 'new-' = ''): KeySource | undefined {
  const [file, kms] = [given.text(`${prefix}key-file`), given.text(`${prefix}kms`)]
  if (file !== undefined && kms !== undefined)
    throw usageError(`--${prefix}key-file and --${prefix}kms are two keys`, 'name one of them')
  if (kms !== undefined) return vaultTransit(readKmsConfig(kms))
  return file === undefined ? undefined : fileSource(readKeyFile(file))
}

function neededSource(given: Arguments, prefix: '' | 'new-' = ''): KeySource {
  const source = keySourceOf(given, prefix)
  if (source !== undefined) return source
  throw usageError(`--${prefix}key-file is missing`, `e.g. --${prefix}key-file FILE, or --${prefix}kms FILE`)
}

/** What of a request to make a volume is of the user's key; nothing: the cluster key wraps its data key. */
export async function newKeyOf(
  given: Arguments, parameters: Record<string, string>,
): Promise<Pick<CreateVolumeRequest, 'volumeId' | 'wrappedBy' | 'wrapped'>> {
  const option = ['key-file', 'kms'].find((one) => given.text(one) !== undefined)
  if (option === undefined) return {}
  const cipher = CIPHERS.find((one) => one === (parameters.cipher ?? parameters['holdfast.io/cipher'] ?? CIPHERS[0]))
  if (parameters.encryption !== 'true' || cipher === undefined)
    throw usageError(`--${option} is for an encrypted volume`, `add --encryption, and --cipher ${CIPHERS.join(' or ')}`)
  const volumeId = randomBytes(16).toString('hex')
  return { volumeId, ...wrappedKeyOf(await newEncryptionBy(cipher, volumeId, neededSource(given))) }
}

/** The nodes whose daemons the endpoint names: those of this host, of which this process may write key folders. */
async function nodesHere(given: Arguments, daemon: ControlClient): Promise<Node[]> {
  const sockets = candidateSockets(namedEndpoint(given.text('endpoint'), process.env))
  const folders = new Set(sockets.map((socket) => realpathSync(path.dirname(socket))))
  const { nodes } = await daemon.listNodes()
  const here = nodes.filter(({ folder, id }) => id !== '' && folders.has(folder))
  const only = given.text('node')
  const chosen = only === undefined ? here : here.filter(({ name }) => name === only)
  if (chosen.length > 0) return chosen
  if (only !== undefined) throw new HoldfastError('node-not-found', { name: shown(only) })
  throw usageError('no node of this host is named', 'run this on the host of the node, with its folder as --endpoint')
}

/** The endpoint is a folder or a socket: who has the key can give it to a node there. */
export function isOnThisHost(given: Arguments): boolean {
  try {
    return candidateSockets(namedEndpoint(given.text('endpoint'), process.env)).length > 0
  } catch (error) {
    if (error instanceof HoldfastError) return false
    throw error
  }
}

const foldersOf = (nodes: readonly Node[]): KeyFolder[] => nodes.map(({ id }) => new KeyFolder(id))

/** @throws HoldfastError `volume-plain` */
function encryptionIn({ volumeId, encryption: text }: VolumeKeys, name: string): VolumeEncryption {
  const encryption = text === '' ? undefined : decodeEncryption(JSON.parse(text), volumeId)
  if (encryption !== undefined) return encryption
  throw new HoldfastError('volume-plain', { volume: name })
}

/** Gives what opens it to the nodes of this host. @returns their names */
export async function unlock(given: Arguments, daemon: ControlClient, name: string, by: KeySource): Promise<string[]> {
  const keys = await daemon.getKeys({ name })
  const kept = await keptKeyOf(encryptionIn(keys, name), by, name)
  try {
    const nodes = await nodesHere(given, daemon)
    for (const folder of foldersOf(nodes)) folder.put(keys.volumeId, kept)
    return nodes.map((node) => node.name)
  } finally {
    kept.key.key.erase()
  }
}

/** Nodes of this host that had what opened it before, as far as they can be reached, get what opens it now. */
async function renewHere(
  given: Arguments, daemon: ControlClient, by: KeySource,
  { name, volumeId, encryption }: { name: string; volumeId: string; encryption: VolumeEncryption },
): Promise<void> {
  const folders = foldersOf(await nodesHere(given, daemon).catch(noneHere)).filter((one) => one.has(volumeId))
  if (folders.length === 0) return
  const kept = await keptKeyOf(encryption, by, name)
  try {
    for (const folder of folders) folder.put(volumeId, kept)
  } finally {
    kept.key.key.erase()
  }
}

export async function unlockVolume({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const by = neededSource(given)
  const nodes = await withDaemon(given, (daemon) => unlock(given, daemon, name, by))
  output.result({ name, nodes }, () => [
    `volume ${name} can be opened on ${nodes.join(', ')}, also after a restart of a daemon`,
    `\`holdfast volume lock ${name}\` ends that, and so does a reboot`,
  ])
  return EXIT_OK
}

export async function lockVolume({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const nodes = await withDaemon(given, async (daemon) => {
    const { volumeId } = await daemon.getKeys({ name })
    const here = await nodesHere(given, daemon)
    return here.filter(({ id }) => new KeyFolder(id).remove(volumeId)).map((node) => node.name)
  })
  output.result({ name, nodes }, () => [
    nodes.length === 0 ? `no node of this host has a key of volume ${name}`
      : `${nodes.join(', ')} cannot open volume ${name} any more; whoever uses it goes on until he disconnects`,
  ])
  return EXIT_OK
}

export async function rewrapVolume({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const [from, to] = [neededSource(given), neededSource(given, 'new-')]
  await withDaemon(given, async (daemon) => {
    const keys = await daemon.getKeys({ name })
    const former = encryptionIn(keys, name)
    const opened = await openKeys(former, from, name)
    const encryption = await rewrapBy(former, opened, to, name).finally(() => eraseKeys(opened))
    const change = { former: keys.encryption, encryption: JSON.stringify(encryption), wrappedBy: to.id }
    await daemon.changeKeys({ name, ...change })
    // Those that have the former key serve with it after a restart too.
    await renewHere(given, daemon, to, { name, volumeId: keys.volumeId, encryption })
  })
  output.result({ name, keyId: to.id }, () => [
    `volume ${name} is encrypted under key ${to.id} now; its data key is the same`,
    `key ${from.id} still opens what has its former wrap: \`holdfast volume keys ${name}\``,
  ])
  return EXIT_OK
}

/** A data key more, drawn here, under which nobody writes yet; what follows the cluster does by itself. */
async function addDataKey(given: Arguments, daemon: ControlClient, name: string): Promise<void> {
  const by = neededSource(given)
  const keys = await daemon.getKeys({ name })
  const former = encryptionIn(keys, name)
  const opened = await openKeys(former, by, name)
  if (former.writesUnder !== undefined) {
    // The step before was begun, and not ended, maybe not even here: it goes on.
    eraseKeys(opened)
    return renewHere(given, daemon, by, { name, volumeId: keys.volumeId, encryption: former })
  }
  const next = await rekeyBy(former, opened, by, name).finally(() => eraseKeys(opened))
  await daemon.changeKeys({ name, former: keys.encryption, encryption: JSON.stringify(next), wrappedBy: by.id })
  await renewHere(given, daemon, by, { name, volumeId: keys.volumeId, encryption: next })
}

export async function rekeyVolume({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const last = await withDaemon(given, async (daemon) => {
    if (!given.flag('resume')) await addDataKey(given, daemon, name)
    let said = ''
    const sinceMs = performance.now()
    for (;;) {
      const progress = await daemon.rekeyVolume({ name })
      const { stage, why, node, doneBytes, totalBytes } = progress
      if (stage === 'done') return progress
      if (stage === 'waits' && performance.now() - sinceMs > REKEY_WAIT_MS)
        throw new HoldfastError('rekey-waits', { volume: name, why })
      const percent = totalBytes === 0 ? 0 : Math.floor((100 * doneBytes) / totalBytes)
      const line = stage === 'waits' ? why : `${percent} %, blocks are written anew on ${node}`
      if (line !== said) output.note(line)
      said = line
      if (stage === 'rewriting' && doneBytes === totalBytes) return progress
      await new Promise((resolve) => setTimeout(resolve, REKEY_ASK_MS))
    }
  })
  const { stage, rewrittenBlocks, damagedBlocks } = last
  output.result({ name, ...last }, () => [
    stage === 'done' ? `volume ${name} is written under its newest data key`
      : `${damagedBlocks} blocks of volume ${name} could not be read or written, and stay under a former data key`,
    ...(rewrittenBlocks > 0 ? [`${rewrittenBlocks} blocks were written anew`] : []),
    'its snapshots of before keep blocks under former data keys until they are deleted',
  ])
  return EXIT_OK
}

function noneHere(error: unknown): Node[] {
  if (error instanceof HoldfastError) return []
  throw error
}

/** How often it asks how far it is, and how long it waits for what has to happen elsewhere. */
const REKEY_ASK_MS = 500
const REKEY_WAIT_MS = 30_000

export async function showKeys({ arguments: given, output }: Invocation): Promise<number> {
  const name = given.positionals[0]!
  const shownKeys = await withDaemon(given, async (daemon) => {
    const keys = await daemon.getKeys({ name })
    const encryption = encryptionIn(keys, name)
    const { cipher, writesUnder, rewriting } = encryption
    const { wrappedBy: keyId } = wrappedKeyOf(encryption)
    const dataKeys = encryption.keys.filter(({ dataKey }) => dataKey !== undefined).length
    const rekeying = writesUnder !== undefined ? 'not written under yet' : rewriting !== undefined ? 'rewriting' : ''
    const here = await nodesHere(given, daemon).catch(noneHere)
    const unlockedOn = here.filter(({ id }) => new KeyFolder(id).has(keys.volumeId)).map((node) => node.name)
    return { name, cipher, keyId, dataKeys, rekeying, nodes: keys.nodes, sharedWith: keys.sharedWith, unlockedOn }
  })
  output.result(shownKeys, () => {
    const { cipher, keyId, dataKeys, rekeying, nodes, sharedWith, unlockedOn } = shownKeys
    const rekey = `holdfast volume rekey ${name} --resume`
    const none = (names: readonly string[]): string => (names.length === 0 ? 'none' : names.join(', '))
    return [
      ...fields([
        ['volume', name],
        ['cipher', cipher],
        ['key', keyId],
        ['data keys', `${dataKeys}${rekeying === '' ? '' : `, the newest: ${rekeying} (\`${rekey}\` says how far)`}`],
        ['wrapped data key', 'in the cluster store, its history until that is compacted, and its backups'],
        ['on disks of', none(nodes)],
        ['also of volumes', none(sharedWith)],
        ['unlocked on', `${none(unlockedOn)} (of the nodes of this host)`],
      ]),
      `what is wrapped is worth nothing without key ${keyId}: destroy that, and every former key, and nobody can read`,
      'the volume again; volumes that share its data key have wraps of their own, and who uses it now has the data key',
      'until he disconnects',
    ]
  })
  return EXIT_OK
}
