/** A control API that answers as a test says, on a socket of its own, for commands that are run against it. */
import path from 'node:path'
import type { Test } from 'tap'
import type { ControlApi } from '../../cluster/api/definition.ts'
import { serveControlApi } from '../../cluster/api/server.ts'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { volumeView } from '../../cluster/api/volume-view.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** @returns a folder of the test's own, with `api.sock` in it */
export async function serveStub(t: Test, api: Partial<ControlApi>): Promise<{ dir: string; socketPath: string }> {
  const dir = temporaryFolder(t)
  const socketPath = path.join(dir, 'api.sock')
  const onBug = (error: unknown) => t.fail(String(error))
  const server = await serveControlApi({ socketPath, api: api as ControlApi, onBug })
  t.teardown(() => server.close(0))
  return { dir, socketPath }
}

/** A volume of one copy, as a node shows it. */
export function shownVolume(id: string, name: string, sizeBytes: number): Volume {
  return volumeView({
    spec: {
      id, name, sizeBytes, blockSizeBytes: 4096, replicas: 0, durability: 'durable', onFull: 'hold',
      ioTimeoutMs: 600_000, pool: 'default', diskTags: [],
    },
    health: 'healthy', healthReason: '', epoch: 1, usedBytes: 0, logicalBytes: 0, seq: 1, commitSeq: 1, heldRequests: 0,
  }, { node: 'n1', nbd: [], frontends: [] })
}
