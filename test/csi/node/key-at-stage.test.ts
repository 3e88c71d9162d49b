/**
 * The key that comes with a stage opens the volume, or nothing is staged. Risk: who writes the cluster store takes the
 * encryption out of a record, or puts a data key of his own into it, and a pod whose class names a key writes so that
 * he can read it.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { newEncryption } from '../../../cluster/keys/data-key.ts'
import { KeyFolder } from '../../../cluster/keys/key-folder.ts'
import { userKeyOf } from '../../../cluster/keys/user-key.ts'
import { KeyAtStage } from '../../../csi/node/key-at-stage.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

const ID = 'a0'.repeat(16)

t.test('a key is for the volume that it opens, and for no other', async (t) => {
  const nodeId = randomBytes(16).toString('hex')
  const folder = new KeyFolder(nodeId)
  t.teardown(() => rmSync(folder.dir, { recursive: true, force: true }))
  const state = temporaryFolder(t)
  let encryption = ''
  const keys = new KeyAtStage({
    getKeys: async () => ({ volumeId: ID, encryption, nodes: [], sharedWith: [] }),
  }, nodeId, state)
  const secret = randomBytes(32)
  const [own, other] = [userKeyOf(new Uint8Array(secret)), userKeyOf(new Uint8Array(randomBytes(32)))]
  const put = (): Promise<void> => keys.put({ id: ID, name: 'v' }, { 'encryption-key': secret.toString('hex') })

  await t.rejects(put(), { code: 'volume-plain' }, 'a plain one is not written in the clear')
  encryption = JSON.stringify(newEncryption('aes-256-xts', ID, other))
  await t.rejects(put(), { code: 'key-wrong' }, 'one under another key is not written under that')
  t.notOk(existsSync(folder.dir), 'nothing was put there')
  encryption = JSON.stringify(newEncryption('aes-256-xts', ID, own))
  await put()
  t.ok(folder.has(ID))
  keys.take(ID)
  t.notOk(folder.has(ID))
  t.notOk(existsSync(path.join(state, 'unlocked', ID)))
  await keys.put({ id: ID, name: 'v' }, {})
  t.notOk(folder.has(ID), 'without a secret nothing is done')
})
