/** Risk: a file system that is mounted on a kernel's device of ours sees an error while processes are killed. */
// test-timeout-seconds: 300
// test-serial: real processes that need both cores
import t from 'tap'
import { whyNoGuests } from '../power/guests-missing.ts'
import { tellShort } from './kill-stories.ts'
import { Story } from './story.ts'

t.setTimeout(290_000)

t.test('daemon and keeper are killed under a mounted file system', { skip: whyNoGuests() ?? false }, async (t) => {
  await Story.tell({ say: (line) => t.comment(line) }, tellShort)
})
