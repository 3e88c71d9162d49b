/** Risk: a length inside an option's data is believed although the bytes are not there. */
import t from 'tap'
import {
  decodeInfoRequest, decodeMetaContextRequest, encodeInfoRequest, encodeMetaContextRequest,
} from '../../../dataplane/nbd/option-data.ts'

t.test('info requests survive a round trip and fail when cut anywhere', async (t) => {
  const name = Buffer.from('größe')
  const data = encodeInfoRequest(name, [0, 3, 3, 0xffff])
  t.same(decodeInfoRequest(data), { name, wanted: new Set([0, 3, 0xffff]) })
  for (let length = 0; length < data.length; length++) {
    if (decodeInfoRequest(data.subarray(0, length)) !== undefined) t.fail(`cut at ${length}`)
  }
  t.equal(decodeInfoRequest(Buffer.concat([data, name])), undefined, 'nothing may follow')
})

t.test('metadata context requests survive a round trip and fail when cut anywhere', async (t) => {
  const name = Buffer.from('disk')
  const queries = ['base:allocation', '', 'x-ä:b']
  const data = encodeMetaContextRequest(name, queries)
  t.same(decodeMetaContextRequest(data), { name, queries })
  for (let length = 0; length < data.length; length++) {
    if (decodeMetaContextRequest(data.subarray(0, length)) !== undefined) t.fail(`cut at ${length}`)
  }
  t.equal(decodeMetaContextRequest(Buffer.concat([data, name])), undefined, 'nothing may follow')
})

t.test('a count of four billion queries ends where the data ends', async (t) => {
  const data = encodeMetaContextRequest(Buffer.from('disk'), ['base:allocation'])
  data.writeUInt32BE(0xffffffff, 8)
  t.equal(decodeMetaContextRequest(data), undefined)
})
