/**
 * The first process of a guest: it mounts the disk, plugs the network in, starts the node and says so. The node's
 * folder and disk lie on the guest's own disk, everything else is the host's and cannot be written.
 *
 * It imports next to nothing, since all that a guest loads is slow.
 */
import { fork, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import koffi from 'koffi'
import type { Ready, Waits } from '../../dataplane/daemon-start.ts'
import { ENDED, READY, STOP, STOPPED } from './guest-words.ts'
import type { GuestOrder } from './guest-words.ts'

const POWER_OFF = 0x4321fedc
const UNSYNCED = 'unsynced'
/** Hundredths of a second: how often it looks, and how old pages are that it writes. */
const DIRTY = { never: ['0', '360000'], early: ['5', '10'] } as const

const say = (line: string): void => void process.stdout.write(`${line}\n`)

function run(...words: [string, ...string[]]): void {
  const { status, stderr } = spawnSync(words[0], words.slice(1), { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${words.join(' ')}: ${stderr}`)
}

function setUpMachine({ config, address, gateway, writesBack }: GuestOrder): void {
  run('mount', '-t', 'ext4', '/dev/ubda', config.dir)
  const [every, age] = DIRTY[writesBack]
  writeFileSync('/proc/sys/vm/dirty_writeback_centisecs', every)
  writeFileSync('/proc/sys/vm/dirty_expire_centisecs', age)
  run('ip', 'link', 'set', 'lo', 'up')
  run('ip', 'address', 'add', `${address}/24`, 'dev', 'vec0')
  run('ip', 'link', 'set', 'vec0', 'up')
  run('ip', 'route', 'add', 'default', 'via', gateway)
}

/** Written when the node was ready last, and never synced: after a cut it is not there, or empty. */
function unsyncedFile(file: string): string {
  try {
    return readFileSync(file).length === 0 ? 'empty' : 'there'
  } catch {
    return 'gone'
  }
}

function runNode({ config, nodeMain, environment }: GuestOrder): void {
  const file = path.join(config.dir, UNSYNCED)
  const found = unsyncedFile(file)
  let errors = ''
  let isStopping = false
  const node = fork(nodeMain, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: { ...process.env, ...environment } })
  node.stderr!.setEncoding('utf8').on('data', (text: string) => (errors += text))
  node.on('message', ({ kind }: Ready | Waits) => {
    if (kind !== 'ready') return
    writeFileSync(file, 'not for long')
    say(`${READY}${found}`)
  })
  node.on('close', (code, signal) => {
    if (!isStopping) return say(`${ENDED}${signal ?? `exit code ${code}`} ${errors}`)
    run('umount', config.dir)
    say(`${STOPPED}${signal ?? code}`)
    koffi.load(null).func('int reboot(int command)')(POWER_OFF)
  })
  createInterface({ input: process.stdin }).on('line', (line) => {
    if (line !== STOP) return
    isStopping = true
    node.kill('SIGTERM')
  })
  node.send(config)
}

/** Elsewhere it is only loaded, to be compiled. */
if (process.pid === 1) {
  const order = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as GuestOrder
  try {
    setUpMachine(order)
    runNode(order)
  } catch (error) {
    say(`${ENDED}${String(error)}`)
  }
}
