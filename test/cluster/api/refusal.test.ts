/** A refusal comes through gRPC as it was; what a stranger puts in the place of one is no reason to end. */
import { Metadata, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import t from 'tap'
import { refusalFromStatus, refusalToStatus } from '../../../cluster/api/refusal.ts'
import { HoldfastError } from '../../../engine/errors.ts'

const failed = (metadata: Metadata): ServiceError =>
  Object.assign(new Error('no'), { code: status.NOT_FOUND, details: 'no', metadata })

t.test('as it was', async (t) => {
  const refusal = new HoldfastError('volume-size', { size: 7 })
  const found = refusalFromStatus(failed(refusalToStatus(refusal).metadata))
  t.same([found?.code, found?.detail, found?.message], [refusal.code, refusal.detail, refusal.message])
  t.equal(refusalFromStatus(failed(new Metadata())), undefined, 'of the transport')
})

t.test('what is no detail says nothing', async (t) => {
  const trailers: Array<[told: Buffer, detail: object]> = [
    ...['', '{', 'null', '[1]', '"x"', '7', '\u00fc'].map((text): [Buffer, object] => [Buffer.from(text), {}]),
    [Buffer.of(0xff, 0x00), {}],
    [Buffer.from('{"name":"a","more":{"b":1},"size":2,"none":null,"list":["c"]}'), { name: 'a', size: 2 }],
  ]
  for (const [told, detail] of trailers) {
    const metadata = new Metadata()
    metadata.set('holdfast-code', 'volume-not-found')
    metadata.set('holdfast-detail-bin', told)
    const found = refusalFromStatus(failed(metadata))
    t.same([found?.code, found?.detail], ['volume-not-found', detail], told.toString())
  }
})
