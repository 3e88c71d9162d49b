/** Risk: a process that holds a user's key, or the CA's, leaves a core or opens a debugger, for a host allows both. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { warmCompileCache, withCompileCache } from '../../dataplane/compile-cache.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { MAIN } from './run-holdfast.ts'

const DEADLINE_MS = 60_000

/** The limit for cores of a process that a host allows any, once it is none; that of the host when it never is. */
async function coreLimitOf(t: Test, words: string[]): Promise<string> {
  const command = ['--core=unlimited', process.execPath, MAIN, ...words]
  const child = spawn('prlimit', command, { stdio: 'ignore', env: withCompileCache(process.env) })
  const ended = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGKILL')
    await ended
  })
  const deadlineMs = performance.now() + DEADLINE_MS
  let limit = ''
  while (limit !== '0' && child.exitCode === null && performance.now() < deadlineMs) {
    await sleep(20)
    try {
      limit = /^Max core file size +(\S+)/m.exec(readFileSync(`/proc/${child.pid}/limits`, 'utf8'))![1]!
    } catch {
      // It has ended, which the loop sees.
    }
  }
  return child.exitCode === null ? limit : `it ended with ${child.exitCode}`
}

t.test('none of them leaves a core', async (t) => {
  // One that fills it is not to be killed meanwhile.
  warmCompileCache()
  const dir = temporaryFolder(t)
  const at = (name: string): string => path.join(dir, name)
  for (const name of ['n1', 'kubelet']) mkdirSync(at(name))
  // Nobody answers there, so that they wait.
  const silent = net.createServer().listen(at('api.sock'))
  t.teardown(() => silent.close())
  const state = ['--state', at('state')]
  const node = ['csi', 'node', '--csi-endpoint', at('node.sock'), '--endpoint', dir, '--kubelet-dir', at('kubelet')]
  const controller = ['csi', 'controller', '--csi-endpoint', at('controller.sock'), '--endpoint', at('api.sock')]
  const limits = await Promise.all([
    coreLimitOf(t, [...node, ...state]),
    coreLimitOf(t, controller),
    coreLimitOf(t, ['keeper', '--state', at('kept')]),
  ])
  t.same(limits, ['0', '0', '0'])
})
