/**
 * Inside a guest: runs what the story on the host tells it, several at a time, and says how each ended. It imports next
 * to nothing, since all that a guest loads is slow.
 */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { GUEST, UP } from './guest-words.ts'
import type { ShellAnswer, ShellOrder } from './guest-words.ts'

const OUTPUT_MAX = 64 * 1024

const say = (answer: ShellAnswer): void => void process.stdout.write(`${GUEST}${JSON.stringify(answer)}\n`)

function run({ id, command }: ShellOrder): void {
  const child = spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output = (output + text).slice(-OUTPUT_MAX)))
  }
  // Not `close`: what it left running in the background holds the pipes.
  child.on('exit', (code, signal) => setTimeout(say, 20, { id, code: signal === null ? code ?? -1 : -1, output }))
}

createInterface({ input: process.stdin }).on('line', (line) => run(JSON.parse(line) as ShellOrder))
process.stdout.write(`${UP}\n`)
