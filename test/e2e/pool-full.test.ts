/**
 * Risk: a full pool breaks what could wait, lies about why, or does not go on when space comes back. One volume answers
 * ENOSPC, the others are held; trim and delete let them go on; a held request delays no stop.
 */
// test-serial: measures how long a stop takes
import t from 'tap'
import type { Volume } from '../../cluster/api/volume-messages.ts'
import { holdfast } from '../cli/run-holdfast.ts'
import { NodeProcess } from '../dataplane/node-process.ts'
import { NbdConnection, READ, TRIM, WRITE } from '../../cli/load/nbd-connection.ts'
import type { Answer } from '../../cli/load/nbd-connection.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const MIB = 2 ** 20
const ENOSPC = 28
const AT_ONCE = 24
const CALM_LOOKS = 5

const errnoOf = (answer: Answer): number | string => answer === 'closed' ? answer : answer.errno
const dataOf = (mib: number): Buffer => Buffer.alloc(MIB, 1 + mib % 251)

t.test('full: refused or held, and going on', async (t) => {
  const folder = temporaryFolder(t)
  const node = new NodeProcess(t, folder)
  t.ok(await node.ready(), node.stderr)
  const at = ['--endpoint', node.paths.folder]
  const create = async (name: string, ...words: string[]): Promise<NbdConnection> => {
    const made = await holdfast(['volume', 'create', name, '--size', '1Gi', ...words, ...at])
    t.equal(made.code, 0, made.stderr)
    return (await NbdConnection.open(node.paths.nbd, name, true))!
  }
  const client = node.client(t)
  const inspect = (name: string): Promise<Volume> =>
    client.getVolume({ name })
  const write = (connection: NbdConnection, mib: number): Promise<Answer> =>
    connection.ask({ type: WRITE, offset: mib * MIB, data: dataOf(mib) })
  /** Write until requests stay held: the cleaner may still find some room. @returns the answers, and how far it came */
  const writeUntilHeld = async (connection: NbdConnection, name: string, from: number): Promise<Promise<Answer>[]> => {
    const answers: Promise<Answer>[] = []
    for (;;) {
      let answered = 0
      for (let sent = 0; sent < AT_ONCE; sent++) {
        const answer = write(connection, from + answers.length)
        void answer.then(() => answered++)
        answers.push(answer)
      }
      for (let calm = 0; answered < AT_ONCE;) {
        const before = answered
        const { heldRequests, healthReason } = await inspect(name)
        const isTried = healthReason.includes('the cleaner is at work')
        calm = heldRequests > 0 && answered === before && !isTried ? calm + 1 : 0
        if (calm === CALM_LOOKS) return answers
      }
    }
  }

  const refusing = await create('refusing', '--on-full', 'error')
  let filled = 0
  let answer = await write(refusing, filled)
  while (errnoOf(answer) === 0 && filled < 1000) answer = await write(refusing, ++filled)
  t.equal(errnoOf(answer), ENOSPC)
  t.comment(`${filled} MiB of a disk of 512 MiB were taken`)
  t.ok(filled > 250, 'most of the disk can be used')
  for (const mib of [0, filled >> 1, filled - 1]) {
    const read = await refusing.ask({ type: READ, offset: mib * MIB, length: MIB })
    t.ok(read !== 'closed' && read.errno === 0 && read.data.equals(dataOf(mib)), `${mib} MiB is read while full`)
  }

  const waiting = await create('waiting')
  const brief = await create('brief', '--io-timeout', '2s')
  const answers = await writeUntilHeld(waiting, 'waiting', 0)
  let isAnswered = false
  void answers.at(-1)!.then(() => {
    isAnswered = true
  })
  const volume = await inspect('waiting')
  t.match(volume, { health: 'suspended', healthReason: /pool-full/ })
  const status = await holdfast(['status', ...at])
  t.match(status.stdout, /waiting.*suspended|suspended.*waiting/s)
  t.match(status.stdout, /pool-full|pool default is full/)
  t.equal(isAnswered, false)

  const startedMs = performance.now()
  t.equal(errnoOf(await write(brief, 0)), ENOSPC, 'held for its io-timeout, then refused')
  t.ok(performance.now() - startedMs > 1900)
  t.equal(isAnswered, false)

  const trimmed = await refusing.ask({ type: TRIM, offset: 0, length: 128 * MIB })
  t.equal(errnoOf(trimmed), 0, 'trim works while full')
  t.same((await Promise.all(answers)).map(errnoOf), answers.map(() => 0), 'held writes went on after the trim')
  let mib = answers.length
  const read = await waiting.ask({ type: READ, offset: (mib - 1) * MIB, length: MIB })
  t.ok(read !== 'closed' && read.data.equals(dataOf(mib - 1)))

  const more = await writeUntilHeld(waiting, 'waiting', mib)
  mib += more.length
  await refusing.disconnect()
  t.match(await holdfast(['volume', 'delete', 'refusing', ...at]), { code: 0 }, 'delete works while full')
  t.same((await Promise.all(more)).map(errnoOf), more.map(() => 0), 'held writes went on after the delete')
  t.match(await inspect('waiting'), { health: 'healthy', heldRequests: 0 })

  const last = await writeUntilHeld(waiting, 'waiting', mib)
  const stopMs = performance.now()
  node.kill('SIGTERM')
  t.match(await node.ended(), { code: 0 })
  t.ok(performance.now() - stopMs < 2500, `stopped in ${Math.round(performance.now() - stopMs)} ms with requests held`)
  // Closed unanswered, or done after all: the stop gives back segments that were kept ready.
  t.ok((await Promise.all(last)).every((one) => one === 'closed' || one.errno === 0))
})
