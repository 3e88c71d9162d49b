/** Risk: the checks of encryption pass whatever is done. Each planted bug has to be seen by the check that it names. */
import t from 'tap'
import { importMutant, misfit } from '../../sim/mutants.ts'
import { CHECKS } from './encryption-checks.ts'

const FRONTEND = 'dataplane/frontend/block-encryption.ts'
const SESSIONS = 'dataplane/cipher/session-keys.ts'
const WRAPS = 'cluster/keys/data-key.ts'
const TWICE = 'no tweak or nonce comes twice under a key, in any life of a frontend'

const PLACE = 'a block is what it is at its LBA only'
const CHANGED = 'gcm: what is changed is damage'
const STRANGE = 'a block that is not encrypted, or by another cipher, is damage'
const WRAP = 'a wrapped key opens for its volume and cipher only'

const ANOTHER = 'after another data key came blocks are under that, and those of before are told from them'

interface Planted {
  name: string
  seenBy: keyof typeof CHECKS
  file: string
  replace: string
  by: string
}

const planted = (file: string, seenBy: keyof typeof CHECKS, name: string, replace: string, by: string): Planted =>
  ({ name, seenBy, file, replace, by })

const BOUND = '1 ${cipher} ${volumeId} ${keyNumber}'

const PLANTED: readonly Planted[] = [
  planted(FRONTEND, ANOTHER, 'what is new is written anew again', 'AT.keyNumber) < (this', 'AT.keyNumber) <= (this'),
  planted(
    FRONTEND, ANOTHER, 'the former key goes on', '=== undefined || this.#writing.key', '!== null || this.#writing!.key',
  ),
  planted(
    SESSIONS, ANOTHER, 'the first key is written under', 'writesUnder ?? this.opened.keys.length', 'writesUnder ?? 1',
  ),
  planted(
    'dataplane/frontend/blob-memory.ts', 'a payload stays as it is until it is let go',
    'memory is used again with a payload in it', 'slab.users === 1', 'slab.users === 2',
  ),
  planted(FRONTEND, TWICE, 'a counter stands still', '= ++this.#counter', '= ++this.#counter > 0 ? 1 : 2'),
  planted(SESSIONS, TWICE, 'a salt is no random one', 'randomBytes(SALT_BYTES)', 'new Uint8Array(SALT_BYTES)'),
  planted(FRONTEND, TWICE, 'a salt is kept for ever', '#counter === this.#sessionBlocksMax', '#counter < 0'),
  planted(FRONTEND, PLACE, 'xts: no LBA in the tweak', 'setIv(lbaLow, lbaHigh,', 'setIv(0, 0,'),
  planted(FRONTEND, PLACE, 'xts: half an LBA in the tweak', 'setIv(lbaLow, lbaHigh,', 'setIv(lbaLow, 0,'),
  planted(FRONTEND, PLACE, 'gcm: no LBA is covered', 'COVERED_BYTES, lbaLow', 'COVERED_BYTES, 0'),
  planted(FRONTEND, PLACE, 'gcm: half an LBA is covered', 'COVERED_BYTES + 4, lbaHigh', 'COVERED_BYTES + 4, 0'),
  planted(
    SESSIONS, 'a block is what it is in its volume only', 'one session key for all volumes',
    "info.write(volumeId, 'hex')", 'info.fill(0)',
  ),
  planted(
    'dataplane/cipher/libcrypto.ts', CHANGED, 'gcm: a tag that does not fit is taken',
    'outBytesAddress) === 1 && tag.length', 'outBytesAddress) < 2 && tag.length',
  ),
  planted(
    'engine/volume/restored-blocks.ts', STRANGE, 'a plain block is taken',
    'return refused(opener, lba)\n      const lengthBytes', 'return versions\n      const lengthBytes',
  ),
  planted(
    'engine/volume/restored-blocks.ts', STRANGE, 'a plain block is read',
    'return refused(opener, lba)\n  const lengthBytes', 'return bytes\n  const lengthBytes',
  ),
  planted(FRONTEND, STRANGE, 'another cipher is taken', '|| blob[AT.cipher] !== CIPHER_NUMBER[cipher]', ''),
  planted(WRAPS, WRAP, 'a wrap is bound to no volume', BOUND, '1 ${cipher} ${keyNumber}'),
  planted(WRAPS, WRAP, 'a wrap is bound to no cipher', BOUND, '1 ${volumeId} ${keyNumber}'),
]

t.test('without a bug all is so', async (t) => {
  for (const [name, check] of Object.entries(CHECKS)) t.ok(check(), name)
})

for (const { name, seenBy, file, replace, by } of PLANTED) {
  t.test(`planted: ${name}`, async (t) => {
    const bug = { name: `encryption ${name}`, file, replace, by }
    t.equal(misfit(bug), undefined)
    const mutated = await importMutant<typeof import('./encryption-checks.ts')>(
      bug, 'test/dataplane/frontend/encryption-checks.ts',
    )
    t.notOk(mutated.CHECKS[seenBy](), seenBy)
    t.ok(mutated.CHECKS['what is sealed is opened'](), 'nobody would see it else')
  })
}
