/** The server both processes have: statuses, what is logged and what is not, one operation for each key, Identity. */
import path from 'node:path'
import { statSync, existsSync } from 'node:fs'
import t from 'tap'
import type { Test } from 'tap'
import { csiService, secretsOfRequests } from '../../csi/definition.ts'
import { identityService } from '../../csi/identity.ts'
import { Operations } from '../../csi/operations.ts'
import { serveCsi } from '../../csi/server.ts'
import type { CsiService } from '../../csi/server.ts'
import { HoldfastError } from '../../engine/errors.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { CsiClient } from './csi-client.ts'

interface Served {
  client: CsiClient
  lines: string[]
  socketPath: string
}

async function served(t: Test, ...services: CsiService[]): Promise<Served> {
  const socketPath = path.join(temporaryFolder(t), 'csi.sock')
  const lines: string[] = []
  const server = await serveCsi({ socketPath, services, log: (line) => lines.push(line) })
  t.teardown(() => server.close(0))
  return { client: new CsiClient(t, socketPath), lines, socketPath }
}

const controller = (calls: CsiService['calls']): CsiService => ({ definition: csiService('Controller'), calls })

t.test('Identity says who it is, what it can, and whether its control API answers', async (t) => {
  let isReady = false
  const probe = async (): Promise<void> => {
    if (!isReady) throw new HoldfastError('unreachable', { endpoint: 'x', source: 'test', reason: 'it is down' })
  }
  const identity = identityService({ version: '1.2.3', probe, log: () => undefined })
  const { client, lines, socketPath } = await served(t, identity)
  const info = { name: 'csi.holdfast.io', vendorVersion: '1.2.3', manifest: {} }
  t.same(await client.call('Identity', 'GetPluginInfo'), info)
  const { capabilities } = await client.call('Identity', 'GetPluginCapabilities')
  t.same(capabilities.map(({ service, volumeExpansion }: any) => service?.type ?? volumeExpansion?.type).sort(), [
    'CONTROLLER_SERVICE', 'GROUP_CONTROLLER_SERVICE', 'ONLINE', 'SNAPSHOT_METADATA_SERVICE',
    'VOLUME_ACCESSIBILITY_CONSTRAINTS',
  ])
  t.same(await client.call('Identity', 'Probe'), { ready: { value: false } })
  isReady = true
  t.same(await client.call('Identity', 'Probe'), { ready: { value: true } })
  t.same(lines, [], 'what is asked every few seconds is not told')
  t.equal(statSync(socketPath).mode % 0o1000, 0o600)
})

t.test('a refusal is a status and a sentence, a bug is told in the log only', async (t) => {
  const { client, lines } = await served(t, controller({
    DeleteVolume: async () => {
      throw new HoldfastError('volume-attached', { name: 'v', holders: 'n1', mode: 'single' })
    },
    ControllerGetVolume: async () => { throw new TypeError('its own words') },
  }))
  await t.rejects(client.call('Controller', 'DeleteVolume', { volumeId: 'v' }), { code: 9, details: /attached to n1/ })
  await t.rejects(client.call('Controller', 'ControllerGetVolume'), { code: 13, details: /a bug of Holdfast's own/ })
  t.match(lines[0], /^DeleteVolume FAILED_PRECONDITION in \d+ ms \{"volumeId":"v"\}: volume v is attached to n1/)
  t.match(lines.join('\n'), /ControllerGetVolume INTERNAL[^]*TypeError: its own words\n +at /)
  await t.rejects(client.call('Controller', 'ListVolumes'), { code: 12 })
})

t.test('no secret is logged, in whichever request it comes', async (t) => {
  const { requests, calls } = everyRequest()
  t.match([...secretsOfRequests()].join(), /^(\w+Request\.secrets,?)+$/, 'requests show them at the top only')
  t.equal(secretsOfRequests().size, 19)
  const { client, lines } = await served(t, controller(calls))
  for (const rpc of requests) await client.call('Controller', rpc, { secrets: { key: 'do-not-show' } })
  const all = lines.join('\n')
  t.notMatch(all, /do-not-show/)
  t.equal(lines.length, requests.length)
  t.match(all, /CreateVolume OK in \d+ ms \{"secrets":"\[stripped\]"\}/)
})

function everyRequest(): { requests: string[]; calls: CsiService['calls'] } {
  const requests = Object.entries(csiService('Controller')).flatMap(([rpc, found]) => {
    const { name } = (found as unknown as { requestType: { type: { name: string } } }).requestType.type
    return secretsOfRequests().has(`${name}.secrets`) ? [rpc] : []
  })
  return { requests, calls: Object.fromEntries(requests.map((rpc) => [rpc, async () => ({})])) }
}

t.test('one operation for each key, and a caller who has left frees nothing', async (t) => {
  const operations = new Operations()
  let end = (): void => undefined
  let begun = (): void => undefined
  const isBegun = new Promise<void>((resolve) => { begun = resolve })
  const step = (): Promise<object> => new Promise((resolve) => {
    end = () => resolve({})
    begun()
  })
  const { client } = await served(t, controller({
    CreateVolume: (request: { name: string }) => operations.run([request.name], 'CreateVolume', step),
    DeleteVolume: ({ volumeId }: { volumeId: string }) =>
      operations.run([volumeId], 'DeleteVolume', async () => ({})),
  }))
  const first = t.rejects(client.call('Controller', 'CreateVolume', { name: 'v' }, 1000), { code: 4 })
  await isBegun
  const refused = { code: 10, details: /CreateVolume of v is under way/ }
  await t.rejects(client.call('Controller', 'DeleteVolume', { volumeId: 'v' }), refused)
  await client.call('Controller', 'DeleteVolume', { volumeId: 'w' })
  await first
  await t.rejects(client.call('Controller', 'DeleteVolume', { volumeId: 'v' }), refused)
  end()
  await new Promise((resolve) => setImmediate(resolve))
  await client.call('Controller', 'DeleteVolume', { volumeId: 'v' })
})

t.test('several keys are taken together or not at all', async (t) => {
  const operations = new Operations()
  let end = (): void => undefined
  const first = operations.run(['a', 'b'], 'one', () => new Promise<void>((resolve) => { end = resolve }))
  await t.rejects(operations.run(['c', 'b'], 'two', async () => undefined), { code: 10 })
  await operations.run(['c'], 'three', async () => undefined)
  end()
  await first
  await operations.run(['a', 'b', 'c'], 'four', async () => undefined)
})

t.test('its socket is gone when it has ended', async (t) => {
  const socketPath = path.join(temporaryFolder(t), 'csi.sock')
  const server = await serveCsi({ socketPath, services: [], log: () => undefined })
  t.ok(existsSync(socketPath))
  await server.close(0)
  t.notOk(existsSync(socketPath))
})
