/**
 * Every RPC of the control API with text in each field that nobody of ours sends: it is answered, and never a bug of
 * ours, which would end the daemon. The lists are read from the .proto files, so that a new field is tried too.
 */
// test-timeout-seconds: 240
import { readdirSync } from 'node:fs'
import { Client, Metadata, credentials, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import t from 'tap'
import { serveGrpc } from '../../cluster/api/grpc-server.ts'
import { PROTO_FOLDER } from '../../cluster/api/proto.ts'
import { controlServices } from '../../cluster/api/server.ts'
import { nodeService } from '../../cluster/reconcile/node-service.ts'
import { encodeName, nameKey } from '../../cluster/store/volume-names.ts'
import { MIB } from '../../engine/units.ts'
import { ControlCluster } from '../cluster/reconcile/control-cluster.ts'
import { API_DEFINITIONS, API_RPCS, nameOf } from './grpc-access.ts'

t.setTimeout(230_000)

const VOLUME = 'a'.repeat(32)
/** Also what is cut for a sentence in the middle of a letter, and too long for a header. */
const WORDS = [
  'a b', '\u00fc', '/', '..', '\0', '__proto__', 'x'.repeat(130), 'x'.repeat(600), `x${'\u{1f600}'.repeat(60)}`,
  'x'.repeat(70_000),
]

/** Fields with which a request gets further than to its first check, of each service. */
const GOOD: Record<string, object> = {
  VolumeService: { name: 'v-aaaa', node: 'n1', to: 'n1', mode: 'single', what: 'copy', sizeBytes: 64 * MIB },
  SnapshotService: { volume: 'v-aaaa', name: 's', to: 's', id: 'b'.repeat(32) },
  GroupService: { name: 'g', volumes: ['v-aaaa'], id: 'b'.repeat(32) },
  NodeService: { name: 'n1' },
  DiskService: { uuid: 'disk-n1', path: '/d', sizeBytes: 64 * MIB },
  TokenService: { name: 'ci', role: 'viewer', hash: '0'.repeat(64), validMs: 3_600_000 },
  ClusterService: { volumeId: VOLUME, after: {}, expected: {}, status: {}, facts: {}, operation: 'snapshot' },
}
/** Of the host's own keeper, and streams: no part of ControlApi. */
const ELSEWHERE = ['KeeperService', 'SnapshotReadService']

interface Field { name: string; type: string; label: string; typeName: string }
interface Message { name: string; field: Field[]; nestedType: Message[]; options?: { mapEntry?: boolean } | null }

const MESSAGES = loadSync(
  readdirSync(`${PROTO_FOLDER}/holdfast/v1`).map((file) => `holdfast/v1/${file}`), { includeDirs: [PROTO_FOLDER] })

function messageOf(typeName: string): Message | undefined {
  const found = MESSAGES[`holdfast.v1.${typeName.split('.').at(-1)}`] as unknown as { type: Message } | undefined
  return found?.type
}

/** Requests that have the word in one of their fields each, at any depth. */
function* withWord({ field, nestedType }: Message, word: string, depth = 0): Generator<Record<string, unknown>> {
  for (const { name, type, label, typeName } of field) {
    const isRepeated = label === 'LABEL_REPEATED'
    if (type === 'TYPE_STRING') yield { [name]: isRepeated ? [word] : word }
    if (type !== 'TYPE_MESSAGE' || depth > 2) continue
    const entry = nestedType.find((one) => one.options?.mapEntry === true && typeName.endsWith(one.name))
    if (entry !== undefined) {
      yield { [name]: { [word]: 'x' } }
      yield { [name]: { x: word } }
      continue
    }
    for (const one of withWord(messageOf(typeName)!, word, depth + 1)) yield { [name]: isRepeated ? [one] : one }
  }
}

t.test('is answered, and ends nothing', async (t) => {
  const cluster = await ControlCluster.start(t, ['n1'])
  await cluster.createVolume(VOLUME, 0)
  await cluster.put(nameKey('v-aaaa'), encodeName(VOLUME))
  await cluster.until('it is served', () => cluster.health(VOLUME) === 'healthy')
  const { volumes, control } = cluster.node('n1')
  const bugs: unknown[] = []
  const server = await serveGrpc({ host: '127.0.0.1', port: 0 }, [
    ...controlServices(() => volumes), nodeService(control),
  ], (error) => bugs.push(error))
  const client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure(), { 'grpc.enable_retries': 0 })
  t.teardown(async () => {
    client.close()
    await server.close(0)
  })
  const asked = new Set<string>()
  const rpcs = API_RPCS.filter(({ service }) => !ELSEWHERE.includes(service))
  for (const { service, rpc } of rpcs) {
    const definition = API_DEFINITIONS[service]![rpc]!
    const { path, requestSerialize, responseDeserialize } = definition
    const message = (definition as unknown as { requestType: { type: Message } }).requestType.type
    const ask = (request: object): Promise<number> => new Promise((resolve) => {
      const ended = (error: ServiceError | null) => resolve(error?.code ?? status.OK)
      const options = { deadline: Date.now() + 60_000 }
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, new Metadata(), options, ended)
    })
    for (const word of WORDS) {
      const requests = [...withWord(message, word)].flatMap((hostile) => [hostile, { ...GOOD[service], ...hostile }])
      if (requests.length > 0) asked.add(nameOf({ service, rpc }))
      const codes = await cluster.answered(Promise.all(requests.map(ask)))
      const found = bugs.splice(0).map((error) => (error as Error).stack ?? String(error))
      if (codes.includes(status.DEADLINE_EXCEEDED)) found.push('it was not answered')
      t.same(found, [], `${nameOf({ service, rpc })} with ${JSON.stringify(word.slice(0, 20))} (${word.length})`)
    }
  }
  const withoutText = rpcs.map(nameOf).filter((name) => !asked.has(name))
  t.same(withoutText, ['DiskService/List', 'NodeService/List', 'NodeService/Status', 'TokenService/List'])
})
