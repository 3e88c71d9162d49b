/** Risk: two keepers on one table; a refusal that loses its words on the way; somebody else's hands on the socket. */
import { existsSync, statSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { KernelPort } from '../../../csi/host/kernel-port.ts'
import { runKeeper } from '../../../csi/host/keeper-run.ts'
import { RemoteDevices, keeperSocket } from '../../../csi/host/keeper-service.ts'
import { HoldfastError } from '../../../engine/errors.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const VOLUME = 'c'.repeat(32)

/** Why this host makes no devices; undefined: it could. */
function whyNone(): string | undefined {
  try {
    new KernelPort().load()
    return undefined
  } catch (error) {
    return error instanceof HoldfastError ? error.code : String(error)
  }
}

t.test('one for a state folder, on a socket of its owner, with refusals in whole', async (t) => {
  const stateFolder = path.join(temporaryFolder(t), 'state')
  const options = { stateFolder, log: { event: () => undefined }, onBug: (error: unknown) => t.fail(String(error)) }
  const keeper = await runKeeper(options)
  t.equal(statSync(stateFolder).mode & 0o777, 0o700)
  t.equal(statSync(keeperSocket(stateFolder)).mode & 0o777, 0o600)
  await t.rejects(runKeeper(options), { code: 'keeper-running', message: new RegExp(`pid ${process.pid}`) })
  const devices = new RemoteDevices(stateFolder)
  t.same(await devices.list(), [])
  t.equal(await devices.find(VOLUME), undefined)
  await devices.detach(VOLUME)
  await t.rejects(devices.note(VOLUME, { mounts: [] }), { code: 'device-absent' })
  const nodeFolder = path.join(stateFolder, 'n1')
  const wish = { volumeId: VOLUME, generation: 1, mode: 'single', nodeFolder, ioTimeoutMs: 0 } as const
  const bad: object[] = [
    { volumeId: `../${VOLUME}` }, { generation: 0 }, { generation: -1 }, { mode: 'open' }, { nodeFolder: 'n1' },
    { ioTimeoutMs: -1 },
  ]
  for (const one of bad) {
    await t.rejects(devices.attach({ ...wish, ...one }), { code: 'device-wish' }, JSON.stringify(one))
  }
  for (const sizeBytes of [0, -512, 1000]) {
    await t.rejects(devices.resize(VOLUME, sizeBytes), { code: 'device-wish' }, `size ${sizeBytes}`)
  }
  await t.rejects(devices.resize(`../${VOLUME}`, 512), { code: 'device-wish' })
  await t.rejects(devices.resize(VOLUME, 512), { code: 'device-absent' })
  const code = whyNone() ?? 'attachment-absent'
  await t.rejects(devices.attach(wish), { code }, code)
  if (code === 'kernel-nbd') t.same(await devices.list(), [], 'nothing was begun')
  devices.close()
  await keeper.close()
  t.notOk(existsSync(keeperSocket(stateFolder)))
  const next = await runKeeper(options)
  await next.close()
})
