/**
 * Risk: a start with another number of workers, right after `kill -9`, takes segments that another stream of the disk
 * has just written for free ones. The new stream finds no index and reads the frames of the whole disk while the old
 * one finds out what lies behind its checkpoint.
 */
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { NodeHost } from '../kill/node-host.ts'
import { Random } from '../sim/random.ts'
import { StampedClient } from '../../cli/load/stamped-client.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const MIB = 2 ** 20

t.test('written, killed, adopted by more workers and by fewer', async (t) => {
  const folder = temporaryFolder(t)
  const host = new NodeHost(folder, ['--disk', `path=${path.join(folder, 'disk0')},size=${512 * MIB}`])
  const random = new Random(t.name)
  host.start(['--workers', '1'])
  let pid = await host.ready(0)
  const control = host.client()
  await control.createVolume({ name: 'data', sizeBytes: 128 * MIB, parameters: {} })
  control.close()
  const client = new StampedClient({
    socketPath: host.paths.nbd, exportName: 'data', random: () => random.float(), depth: 16,
  })
  t.teardown(async () => {
    await host.killNode()
    await client.close()
  })
  await client.fill()
  for (const workers of [2, 2, 1, 3, 2]) {
    const { sessions } = client
    pid = await host.killNode()
    for (const disk of fs.readdirSync(host.paths.index)) {
      for (const stream of ['1', '2']) {
        fs.rmSync(path.join(host.paths.index, disk, stream), { recursive: true, force: true })
      }
    }
    host.start(['--workers', String(workers)])
    pid = await host.ready(pid)
    while (client.sessions === sessions) await new Promise((resolve) => setTimeout(resolve, 1))
    await client.verify()
    t.same(client.problems, [], `nothing is lost with ${workers} workers`)
    client.start()
    const enough = client.counts.writes + 300
    while (client.counts.writes < enough) await new Promise((resolve) => setTimeout(resolve, 1))
    await client.pause()
  }
  t.same(host.complaints(), [])
  t.match(await host.stop(), { code: 0 })
})
