/**
 * Risk: a real server does otherwise than the stand-in: it takes no `context`, or needs one; it does not bind what it
 * should; its own rotation of the key ends what was wrapped before; refusals are told otherwise.
 */
import t from 'tap'
import { newDataKey } from '../../../cluster/keys/data-key.ts'
import { readKmsConfig } from '../../../cluster/keys/kms-config.ts'
import { vaultTransit } from '../../../cluster/keys/vault-transit.ts'
import { isTransitWrap } from '../../../cluster/store/volume-records.ts'
import { kmsFile } from './kms-file.ts'
import { OpenBao, openBaoMissing } from './openbao-process.ts'

const PLACE = { cipher: 'aes-256-gcm', volumeId: 'a0'.repeat(16), keyNumber: 1 } as const
const POLICY = ['encrypt', 'decrypt'].map((what) =>
  `path "transit/${what}/*" { capabilities = ["update"] }`).join('\n')

t.test('a real OpenBao', { skip: openBaoMissing() }, async (t) => {
  const bao = await OpenBao.start(t, { k: {}, derived: { derived: true }, chacha: { type: 'chacha20-poly1305' } })
  const token = await bao.tokenFor(POLICY)
  const sourceOf = (key: string, by = token) => vaultTransit(readKmsConfig(kmsFile(t, bao.address, by, { key })))
  const dataKey = newDataKey()
  for (const key of ['k', 'derived', 'chacha']) {
    const source = sourceOf(key)
    const wrapped = await source.wrap(dataKey, PLACE)
    t.ok(isTransitWrap(wrapped.wrapped), wrapped.wrapped)
    t.same((await source.unwrap(wrapped, PLACE))?.reveal(), dataKey.reveal(), key)
    for (const place of [{ ...PLACE, volumeId: 'b0'.repeat(16) }, { ...PLACE, keyNumber: 2 }]) {
      await t.rejects(source.unwrap(wrapped, place), { code: 'kms-refused' }, `${key}, bound to its place`)
    }
    await bao.must('POST', `transit/keys/${key}/rotate`)
    t.same((await source.unwrap(wrapped, PLACE))?.reveal(), dataKey.reveal(), 'after its own rotation')
    t.match((await source.wrap(dataKey, PLACE)).wrapped, /^vault:v2:/)
    await bao.must('POST', `transit/keys/${key}/config`, { min_decryption_version: 2 })
    await t.rejects(source.unwrap(wrapped, PLACE), { code: 'kms-refused', message: /version/ }, 'an old version ends')
  }
  await t.rejects(sourceOf('k', 'hvs.nobody').wrap(dataKey, PLACE), { code: 'kms-refused', message: /403/ })
  const none = await bao.tokenFor('path "transit/encrypt/other" { capabilities = ["update"] }')
  await t.rejects(sourceOf('k', none).wrap(dataKey, PLACE), { code: 'kms-refused', message: /403, .*denied/ })
  await bao.must('PUT', 'sys/seal')
  await t.rejects(sourceOf('k').wrap(dataKey, PLACE), { code: 'kms-refused', message: /503, .*sealed/ })
})
