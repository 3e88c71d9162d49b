/** Risk: a node loses the key of a volume that it was unlocked for, before anybody locked or deleted that. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import t from 'tap'
import { newEncryption } from '../../cluster/keys/data-key.ts'
import { KeyFolder } from '../../cluster/keys/key-folder.ts'
import { NodeKeys } from '../../cluster/keys/node-keys.ts'
import { userKeyOf } from '../../cluster/keys/user-key.ts'
import { requireCipher } from '../../dataplane/cipher/libcrypto.ts'
import { ClusterNode } from '../../dataplane/cluster-node.ts'
import type { ClusterNodeOptions } from '../../dataplane/cluster-node.ts'
import { VolumeExports } from '../../dataplane/export-directory.ts'
import { specOf } from './copy/hosts.ts'

t.test('while others hold a volume, or it is in the trash, its key stays', async (t) => {
  const parent = mkdtempSync('/dev/shm/holdfast-test-')
  t.teardown(() => rmSync(parent, { recursive: true }))
  const folder = new KeyFolder('0f'.repeat(16), parent)
  const keys = new NodeKeys({ node: 'n1', folder, cluster: undefined, requireCipher })
  const exports = new VolumeExports()
  // What is not here is used once it has started.
  const options: Partial<ClusterNodeOptions> = {
    node: 'n1', workers: 0, joined: {} as never, homes: new Map(), exports, keys,
    attachments: { offer: async () => undefined, withdraw: () => undefined },
    worker: () => ({ replicationCall: async () => undefined }) as never,
  }
  const node = new ClusterNode(options as ClusterNodeOptions)
  const plain = specOf()
  const key = userKeyOf(new Uint8Array(randomBytes(32)))
  const spec = { ...plain, encryption: newEncryption('aes-256-xts', plain.id, key) }
  folder.put(spec.id, { key, encryption: spec.encryption })
  exports.offer({ spec }, 0)
  await node.hide(spec.id)
  t.equal(exports.find('v'), undefined)
  t.equal(keys.whyLocked(spec), undefined)
  await node.withdraw(spec.id)
  t.equal(keys.whyLocked(spec), undefined)
})
