/**
 * Risk: what is written is not AES-XTS or AES-GCM, so that it cannot be read elsewhere or is not safe; or a context
 * keeps something of the call before. Vectors are those of IEEE 1619 (vector 10) and NIST; everything else is compared
 * with the ciphers of node:crypto, which call the same OpenSSL in another way.
 */
import { createCipheriv, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import { GcmContext, setIv, TAG_BYTES, XtsContext } from '../../../dataplane/cipher/libcrypto.ts'

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'))
const setIvOf = (bytes: Uint8Array): void => {
  const view = new DataView(Uint8Array.from([...bytes, 0, 0, 0, 0]).buffer)
  setIv(view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true), view.getUint32(12, true))
}

const IEEE_10 = {
  key: `2718281828459045235360287471352662497757247093699959574966967627
    3141592653589793238462643383279502884197169399375105820974944592`,
  tweak: 'ff000000000000000000000000000000',
  cipher: `1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b5d31e276f8fe4a8d66b317f9ac683f44
    680a86ac35adfc3345befecb4bb188fd5776926c49a3095eb108fd1098baec70aaa66999a72a82f27d848b21d4a741b0c5cd4d5fff9dac89
    aeba122961d03a757123e9870f8acf1000020887891429ca2a3e7a7d7df7b10355165c8b9a6d0a7de8b062c4500dc4cd120c0f7418dae3d0
    b5781c34803fa75421c790dfe1de1834f280d7667b327f6c8cd7557e12ac3a0f93ec05c52e0493ef31a12d3d9260f79a289d6a379bc70c50
    841473d1a8cc81ec583e9645e07b8d9670655ba5bbcfecc6dc3966380ad8fecb17b6ba02469a020a84e18e8f84252070c13e9f1f289be54f
    bc481457778f616015e1327a02b140f1505eb309326d68378f8374595c849d84f4c333ec4423885143cb47bd71c5edae9be69a2ffeceb1be
    c9de244fbe15992b11b77c040f12bd8f6a975a44a0f90c29a9abc3d4d893927284c58754cce294529f8614dcd2aba991925fedc4ae74ffac
    6e333b93eb4aff0479da9a410e4450e0dd7ae4c6e2910900575da401fc07059f645e8b7e9bfdef33943054ff84011493c27b3429eaedb4ed
    5376441a77ed43851ad77f16f541dfd269d50d6a5f14fb0aab1cbb4c1550be97f7ab4066193c4caa773dad38014bd2092fa755c824bb5e54
    c4f36ffda9fcea70b9c6e693e148c151`,
}

t.test('IEEE 1619, vector 10', async (t) => {
  const plain = Uint8Array.from({ length: 512 }, (_, i) => i)
  const into = new Uint8Array(512)
  const encrypting = new XtsContext(hex(IEEE_10.key), true)
  setIvOf(hex(IEEE_10.tweak))
  encrypting.run(plain, into)
  t.same(Buffer.from(into).toString('hex'), Buffer.from(hex(IEEE_10.cipher)).toString('hex'))
  const decrypting = new XtsContext(hex(IEEE_10.key), false)
  setIvOf(hex(IEEE_10.tweak))
  decrypting.run(into, into)
  t.same(into, plain, 'and back, in place')
  encrypting.free()
  decrypting.free()
})

t.test('nothing is encrypted under a key of XTS whose halves are equal', async (t) => {
  t.throws(() => new XtsContext(new Uint8Array(64).fill(7), true))
})

t.test('NIST, GCM with a key of 256 zero bits, one block', async (t) => {
  const context = new GcmContext(new Uint8Array(32), true)
  const into = new Uint8Array(16)
  const tag = new Uint8Array(TAG_BYTES)
  setIv(0, 0, 0, 0)
  t.ok(context.run(new Uint8Array(0), new Uint8Array(16), into, tag))
  t.equal(Buffer.from(into).toString('hex'), 'cea7403d4d606b6e074ec5d3baf39d18')
  t.equal(Buffer.from(tag).toString('hex'), 'd0d1c8a799996bf0265b98b5d48ab919')
  context.free()
})

const units = fc.integer({ min: 1, max: 64 })
  .chain((count) => fc.uint8Array({ minLength: 64 * count, maxLength: 64 * count }))
const ivs = fc.uint8Array({ minLength: 16, maxLength: 16 })

t.test('one context, many units: as the ciphers of node:crypto', async (t) => {
  const key = new Uint8Array(randomBytes(64))
  const [encrypting, decrypting] = [new XtsContext(key, true), new XtsContext(key, false)]
  fc.assert(fc.property(units, ivs, (plain, iv) => {
    const into = new Uint8Array(plain.length)
    setIvOf(iv)
    encrypting.run(plain, into)
    const known = createCipheriv('aes-256-xts', key, iv).update(plain)
    const isKnown = known.equals(into)
    setIvOf(iv)
    decrypting.run(into, into)
    return isKnown && Buffer.from(into).equals(plain)
  }))
  encrypting.free()
  decrypting.free()
})

t.test('the same of GCM, and what is changed does not open', async (t) => {
  const key = new Uint8Array(randomBytes(32))
  const [encrypting, decrypting] = [new GcmContext(key, true), new GcmContext(key, false)]
  fc.assert(fc.property(units, ivs, ivs, fc.nat(), (plain, iv, aad, place) => {
    const into = new Uint8Array(plain.length)
    const tag = new Uint8Array(TAG_BYTES)
    setIvOf(iv)
    encrypting.run(aad, plain, into, tag)
    const cipher = createCipheriv('aes-256-gcm', key, iv.subarray(0, 12)).setAAD(aad)
    const known = Buffer.concat([cipher.update(plain), cipher.final()])
    const changed = into.slice()
    changed[place % changed.length]! ^= 1 << (place % 8)
    const back = new Uint8Array(plain.length)
    setIvOf(iv)
    const isOpened = decrypting.run(aad, changed, back, tag)
    setIvOf(iv)
    const isWhole = decrypting.run(aad, into, back, tag)
    const isKnown = known.equals(into) && cipher.getAuthTag().equals(tag)
    return isKnown && !isOpened && isWhole && Buffer.from(back).equals(plain)
  }))
  encrypting.free()
  decrypting.free()
})

t.test('a key of two equal halves, or of another length, is a bug', async (t) => {
  t.throws(() => new XtsContext(new Uint8Array(64), true), /two different halves/)
  t.throws(() => new XtsContext(new Uint8Array(32), true), /two keys/)
  const freed = new XtsContext(new Uint8Array(randomBytes(64)), true)
  freed.free()
  freed.free()
  t.throws(() => freed.run(new Uint8Array(64), new Uint8Array(64)), /a context/)
})

t.test('a tweak or nonce that was not taken is a bug: the one before would be used again', async (t) => {
  const [xts, gcm] = [new XtsContext(new Uint8Array(randomBytes(64)), true), new GcmContext(new Uint8Array(32), true)]
  for (const context of [xts, gcm]) {
    const inside = context as unknown as { lib: object }
    inside.lib = { ...inside.lib, init: () => 0 }
  }
  const [from, into] = [new Uint8Array(64), new Uint8Array(64)]
  t.throws(() => xts.run(from, into), /a tweak/)
  t.throws(() => gcm.run(new Uint8Array(0), from, into, new Uint8Array(TAG_BYTES)), /a nonce/)
  t.ok(into.every((byte) => byte === 0))
  xts.free()
  gcm.free()
})
