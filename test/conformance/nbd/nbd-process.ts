/**
 * Starts the servers that conformance tests talk to, each as a process of its own, and runs client tools against
 * them. Everything a test starts here ends with its teardown.
 */
import { execFile, spawn, spawnSync } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import type { Test } from 'tap'

const SERVER = path.join(import.meta.dirname, '..', '..', 'nbd-server.ts')

/** The reason to skip, or false when all tools are there. */
export function missing(...tools: string[]): string | false {
  const absent = tools.filter((tool) => spawnSync('sh', ['-c', `command -v ${tool}`]).status !== 0)
  return absent.length === 0 ? false : `not installed: ${absent.join(', ')}`
}

export function scratch(t: Test): string {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'nbd-'))
  t.teardown(() => fs.rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Our server over a volume in memory, exporting `disk`. @returns the path of its socket */
export async function startServer(t: Test, dir: string, sizeBytes: number): Promise<string> {
  const socketPath = path.join(dir, 'holdfast.sock')
  await start(t, process.execPath, [SERVER, socketPath, String(sizeBytes)], socketPath)
  return socketPath
}

/** Any server that makes `socketPath`. */
export async function start(t: Test, command: string, args: string[], socketPath: string): Promise<ChildProcess> {
  const child = spawn(command, args, { stdio: ['pipe', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr?.on('data', (bytes: Buffer) => { errors += bytes.toString() })
  t.teardown(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGTERM')
    await new Promise((resolve) => child.once('exit', resolve))
  })
  const deadline = Date.now() + 15_000
  while (!(await accepts(socketPath))) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error(`${command} did not start: ${errors}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return child
}

function accepts(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(socketPath, () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

export function uri(socketPath: string, name = 'disk'): string {
  return `nbd+unix:///${name}?socket=${socketPath}`
}

export interface Ran {
  status: number
  stdout: string
  stderr: string
}

export function run(command: string, ...args: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(command, args, { timeout: 60_000, maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : typeof error.code === 'number' ? error.code : -1, stdout, stderr })
    })
  })
}
