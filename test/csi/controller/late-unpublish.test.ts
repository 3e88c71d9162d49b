/** Risk: an Unpublish that is carried out late ends a later attachment, or one that it did not end is told as over. */
import t from 'tap'
import type { ControlClient } from '../../../cluster/api/client.ts'
import type { Volume } from '../../../cluster/api/volume-messages.ts'
import type { DetachVolumeRequest } from '../../../cluster/api/volume-wish-messages.ts'
import { unpublishVolume } from '../../../csi/controller/publish-volume.ts'
import { HoldfastError } from '../../../engine/errors.ts'

const ID = 'a'.repeat(32)
type Attach = Volume['attach']
const held = (generation: number): Attach => ({ mode: 'single', generation, holders: [{ node: 'n1', generation }] })
const free = (generation: number): Attach => ({ mode: 'single', generation, holders: [] })

/** @param seen  undefined: it is in the trash  @param answer  undefined: it is refused with that code */
function cluster(seen: Attach | undefined, answer: Attach | 'volume-attached' | 'volume-not-attached') {
  const asked: DetachVolumeRequest[] = []
  const calls = {
    getVolume: async () => {
      if (seen === undefined) throw new HoldfastError('volume-not-found', { name: ID })
      return { id: ID, attach: seen } as Volume
    },
    detachVolume: async (request: DetachVolumeRequest) => {
      asked.push(request)
      if (typeof answer === 'object') return { id: ID, attach: answer } as Volume
      throw new HoldfastError(answer, { name: ID, node: 'n1', holders: 'n1', mode: 'single' })
    },
  } satisfies Partial<ControlClient>
  const api = calls as unknown as ControlClient
  return { asked, unpublish: (nodeId: string) => unpublishVolume(api, { volumeId: ID, nodeId }) }
}

t.test('it is up to the generation that was there', async (t) => {
  const { asked, unpublish } = cluster(held(5), free(6))
  t.same(await unpublish('n1'), {})
  t.same(await unpublish(''), {})
  t.same(asked.map(({ node, all, generation }) => [node, all, generation]), [['n1', false, 5], ['', true, 5]])
  t.ok(asked.every(({ spend }) => spend), 'what is attached late begins nothing')
  const other = cluster(undefined, 'volume-not-attached')
  t.same(await other.unpublish('n1'), {})
  t.same(other.asked[0]?.generation, 0, 'of a volume in the trash')
})

t.test('what is held under a newer one is not told as over', async (t) => {
  const again = { code: 10, message: /published again meanwhile/ }
  await t.rejects(cluster(held(5), 'volume-attached').unpublish('n1'), again)
  await t.rejects(cluster(held(5), held(7)).unpublish('n1'), again)
  await t.rejects(cluster(held(5), held(7)).unpublish(''), again)
  t.same(await cluster(held(5), held(7)).unpublish('n2'), {}, 'another node has it')
})
