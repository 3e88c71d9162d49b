/** Risk: a signal that comes early is not heard, and a second one leaves things that nobody is told of. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { qemuImg } from '../../cli/qemu-img.ts'
import { withCompileCache } from '../../dataplane/compile-cache.ts'
import { MIB } from '../../engine/units.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { serveStub, shownVolume } from './control-stub.ts'
import { MAIN } from './run-holdfast.ts'

t.test('a signal before the child was started', async (t) => {
  const asked = qemuImg(['--version'], { signal: AbortSignal.abort(), what: 'the import of x' })
  await t.rejects(asked, { code: 'copy-ended', message: /it was interrupted/ })
})

t.test('a second signal, while what was made is taken back, says what is left', async (t) => {
  const image = path.join(temporaryFolder(t), 'image')
  fs.writeFileSync(image, Buffer.alloc(MIB, 1))
  const ids: string[] = []
  const { socketPath } = await serveStub(t, {
    createVolume: async ({ volumeId, name, sizeBytes }) => {
      ids.push(volumeId!)
      child.kill('SIGINT')
      return shownVolume(volumeId!, name, sizeBytes)
    },
    deleteVolume: () => {
      child.kill('SIGTERM')
      return new Promise<never>(() => {})
    },
  })
  const child = spawn(process.execPath, [MAIN, 'volume', 'import', image, 'x', '--endpoint', socketPath], {
    env: withCompileCache({ PATH: process.env.PATH ?? '' }), stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
  const [, signal] = (await once(child, 'close')) as [number | null, string | null]
  t.ok(signal, 'it ended at once')
  t.match(said, new RegExp(`volume x may be left, .*holdfast volume delete ${ids[0]} --force --purge`))
})
