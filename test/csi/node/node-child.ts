/**
 * CSI's Node service in a process of its own, which a test kills where it likes: the real service on the real host with
 * `--device fuse`, and volumes that are what the test says, served by whoever listens at their sockets.
 *
 *   {setup, call, request} over IPC  ->  {response} or {code, message}
 *
 * One process may serve several hosts one after the other: what it knows is on the host.
 *
 * With HOST_BUG, a module of it has that bug.
 */
import { writeFileSync } from 'node:fs'
import type * as fuse from '../../../csi/host/fuse-devices.ts'
import type * as paths from '../../../csi/host/kubelet-paths.ts'
import type * as service from '../../../csi/node/node-service.ts'
import type * as operations from '../../../csi/operations.ts'
import type * as refusal from '../../../csi/refusal.ts'
import type * as errors from '../../../engine/errors.ts'
import { importMutant } from '../../sim/mutants.ts'
import { PLANTED } from './planted-bugs.ts'

export interface ChildSetup {
  kubelet: string
  state: string
  nodeFolder: string
  env: { PATH: string }
  /** Bytes by volume id. */
  volumes: Record<string, number>
  /** Under which this host holds them. */
  generation?: number
}

export interface ChildCall {
  setup: ChildSetup
  call: string
  request: object
}

export type ChildAnswer = { response: object } | { code: number; message: string }

const bug = PLANTED.find(({ name }) => name === process.env.HOST_BUG)
const load = async <T>(path: string): Promise<T> =>
  bug === undefined ? await import(`../../../${path}`) as T : importMutant<T>(bug, path)
const { nodeService } = await load<typeof service>('csi/node/node-service.ts')
const { KubeletFolder } = await load<typeof paths>('csi/host/kubelet-paths.ts')
const { Operations } = await load<typeof operations>('csi/operations.ts')
const { refusalOf } = await load<typeof refusal>('csi/refusal.ts')
const { HoldfastError } = await load<typeof errors>('engine/errors.ts')
const { FuseDevices } = await load<typeof fuse>('csi/host/fuse-devices.ts')

const WELL = { health: 'healthy', healthReason: '' }
let volumes: Record<string, number> = {}
let generation: number | undefined
const getVolume = async ({ name }: { name: string }): Promise<object> => {
  const sizeBytes = volumes[name]
  if (sizeBytes === undefined) throw new HoldfastError('volume-not-found', { name })
  const holders = generation === undefined ? [] : [{ node: 'n1', generation }]
  const attach = { mode: 'single', generation: 100, holders }
  const shown = { id: name, name: `v-${name.slice(0, 4)}`, sizeBytes, holds: 'nothing', attach }
  return { ...shown, ioTimeoutMs: 0, encryption: false, ...WELL }
}

type Calls = Record<string, (request: never) => Promise<unknown>>

const callsOn = ({ kubelet, nodeFolder, state, env }: ChildSetup): Calls => {
  process.env.PATH = env.PATH
  return nodeService({
    api: { getVolume } as never, kubelet: new KubeletFolder(kubelet), node: 'n1', nodeFolder, zone: 'a', volumesMax: 8,
    devices: new FuseDevices({ stateFolder: state, blockSizeOf: () => Promise.resolve(512) }),
    keys: { put: async () => writeFileSync(`${state}/key`, ''), take: () => {} }, operations: new Operations(),
  }).calls
}

process.on('message', ({ setup, call, request }: ChildCall) => {
  ;({ volumes, generation } = setup)
  const run = async (): Promise<unknown> => callsOn(setup)[call]!(request as never)
  run().then(
    (response) => process.send!({ response }),
    (error: Error) => {
      const refusal = refusalOf(error)
      process.send!({ code: refusal?.code ?? -1, message: refusal?.message ?? error.stack })
    },
  )
})
process.on('disconnect', () => process.exit())
process.send!('ready')
