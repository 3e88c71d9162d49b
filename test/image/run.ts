/**
 * `npm run image:check`: the steps of the image in a chroot that mmdebstrap makes, as root; some minutes, since Debian
 * and npm packages are fetched. Then the image is used: `holdfast doctor`, a node that serves, users without rights,
 * and what is said where something is missing. Everything is in a temporary folder; mounts are in a namespace of their
 * own, which ends with each command. The last line is `N passed, N failed`.
 *
 *   npm run image:check -- --keep     leaves the folder, and names it
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { HOST_PROGRAMS } from '../../csi/host/host-command.ts'
import { baseImage, INSTALL, isShipped, ROOT, shippedParts } from './shipped.ts'

const STEP_MS = 15 * 60_000
const READY_MS = 120_000
const NOBODY = '65532:65532'

const say = (line: string): void => void process.stdout.write(`${line}\n`)
const counts = { passed: 0, failed: 0 }

function check(name: string, isSo: boolean, detail = ''): void {
  counts[isSo ? 'passed' : 'failed']++
  say(`${isSo ? 'pass' : 'FAIL'}  ${name}${isSo || detail === '' ? '' : `\n${detail.trimEnd()}`}`)
}

/** The sources of this host, without the comment that would pin them: its archive is what can be reached from here. */
function sources(): string {
  const file = ['/etc/apt/sources.list.d/debian.sources', '/etc/apt/sources.list'].find((one) => existsSync(one))
  if (file === undefined) throw new Error('this host has no sources of Debian')
  return readFileSync(file, 'utf8').split('\n').filter((line) => !line.startsWith('#')).join('\n')
}

/** Arguments for `unshare`: a program in that root, with /proc and /dev, in namespaces that end with it. */
function inside(root: string, words: readonly string[], user = ''): string[] {
  const script = 'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && root=$1 && user=$2 && shift 2'
    + ' && exec chroot ${user:+--userspec=$user} "$root" "$@"'
  const namespaces = ['--mount', '--pid', '--fork', '--kill-child']
  return [...namespaces, 'sh', '-c', script, 'sh', root, user, ...words]
}

const environment = (): NodeJS.ProcessEnv => {
  const registry = spawnSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).stdout.trim()
  const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
  return { PATH, HOME: '/root', LANG: 'C.UTF-8', npm_config_registry: registry }
}

/** Of this host, for where its packages come through somebody who is believed here only. */
const AUTHORITIES = '/etc/ssl/certs/ca-certificates.crt'

function run(root: string, words: readonly string[], user = '', more: NodeJS.ProcessEnv = {}) {
  const env = { ...environment(), ...more }
  const bounds = { timeout: STEP_MS, maxBuffer: 64 * 1024 * 1024 }
  return spawnSync('unshare', inside(root, words, user), { env, encoding: 'utf8', ...bounds })
}

function step(name: string, what: () => ReturnType<typeof run>): void {
  const startedMs = performance.now()
  const { status, stdout, stderr } = what()
  say(`${((performance.now() - startedMs) / 1000).toFixed(0).padStart(5)} s  ${name}`)
  if (status === 0) return
  throw new Error(`${name} ended with ${status}\n${stdout.slice(-2000)}${stderr.slice(-4000)}`)
}

function copySource(target: string): void {
  const parts = shippedParts()
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0')
  for (const file of [...files.filter((one) => isShipped(one, parts)), 'image/install.sh']) {
    mkdirSync(path.dirname(path.join(target, file)), { recursive: true })
    cpSync(path.join(ROOT, file), path.join(target, file))
  }
}

/** Both stages of the Dockerfile. @returns the root of the image, and of what made it */
function make(folder: string): { image: string; builder: string } {
  const [image, builder] = ['image', 'builder'].map((name) => path.join(folder, name)) as [string, string]
  const list = path.join(folder, 'debian.sources')
  writeFileSync(list, sources())
  // What it mounts is not seen here either: /dev of this host is among it.
  const made = ['--mount', 'mmdebstrap', '--variant=minbase', '--mode=root', '--quiet', baseImage().suite, image, list]
  step(`Debian ${baseImage().suite}`, () => spawnSync('unshare', made, { encoding: 'utf8', timeout: STEP_MS }))
  cpSync('/etc/resolv.conf', path.join(image, 'etc/resolv.conf'))
  execFileSync('cp', ['-a', image, builder])
  copySource(path.join(builder, 'source'))
  if (existsSync(AUTHORITIES)) cpSync(AUTHORITIES, path.join(builder, 'source/authorities.pem'))
  const believed = { NODE_EXTRA_CA_CERTS: '/source/authorities.pem' }
  step('install.sh application', () =>
    run(builder, ['sh', '/source/image/install.sh', 'application', '/source', '/opt/holdfast'], '', believed))
  execFileSync('cp', ['-a', path.join(builder, 'opt/holdfast'), path.join(image, 'opt/holdfast')])
  cpSync(INSTALL, path.join(image, 'tmp/install.sh'))
  step('install.sh system', () => run(image, ['sh', '/tmp/install.sh', 'system', '/opt/holdfast']))
  return { image, builder }
}

interface Doctor { checks: Array<{ name: string; state: string; detail: string }> }

function doctor(image: string): { status: number | null; of(name: string): string; state(name: string): string } {
  const { status, stdout, stderr } = run(image, ['holdfast', 'doctor', '-o', 'json'])
  const checks = stdout === '' ? [] : (JSON.parse(stdout) as Doctor).checks
  const found = (name: string) => checks.find((one) => one.name === name)
  return { status, of: (name) => found(name)?.detail ?? stderr, state: (name) => found(name)?.state ?? 'absent' }
}

/** A node by itself, up to `holdfast ready`, and its end in order. */
async function serves(image: string): Promise<string> {
  const words = ['holdfast', 'dev', '--nodes', '1', '--size', '1Gi', '--volume', 'data:64Mi:0', '--no-demo']
  const program = inside(image, [...words, '--dir', '/srv/dev'])
  const child = spawn('unshare', program, { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  const late = setTimeout(() => child.kill('SIGKILL'), READY_MS)
  let said = ''
  child.stderr.on('data', (piece: Buffer) => (said += piece.toString()))
  for await (const line of createInterface({ input: child.stdout })) {
    said += `${line}\n`
    if (!line.startsWith('holdfast ready')) continue
    const found = run(image, ['holdfast', 'volume', 'ls', '--endpoint', '/srv/dev'])
    said += found.stdout + found.stderr
    // Of the two only the child of `unshare` knows what to do with a signal.
    const [inner] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ')
    process.kill(Number(inner), 'SIGTERM')
  }
  await ended
  clearTimeout(late)
  return said
}

async function use(image: string, builder: string): Promise<void> {
  const there = doctor(image)
  check('holdfast doctor is content', there.status === 0, there.of('checksum'))
  check('Node 24 of its own', /^v24\..* at \/opt\/holdfast\//.test(there.of('node')), there.of('node'))
  check('crc32c is native', there.state('checksum') === 'ok', there.of('checksum'))
  check('programs for file systems', there.state('file systems') === 'ok', there.of('file systems'))
  for (const program of [...HOST_PROGRAMS.filter((one) => one !== 'nbdfuse'), 'modprobe']) {
    check(`${program} is there`, run(image, ['sh', '-c', `command -v ${program}`]).status === 0)
  }

  const helped = run(image, ['holdfast', 'help'], NOBODY)
  check('a user without rights', helped.status === 0 && helped.stdout.includes('holdfast'), helped.stderr)
  const asked = run(image, ['holdfast', 'csi', 'may-uninstall'], NOBODY)
  check('in no pod it says so', asked.status === 1 && /this is no pod/.test(asked.stderr), asked.stderr)
  for (const [user, file] of [['', 'dataplane/supervisor.ts'], [NOBODY, 'cli/csi-controller.ts']] as const) {
    const compiles = `await import('/opt/holdfast/${file}')
      process.exit(process.moduleLoadList.some((one) => one.includes('amaro')) ? 1 : 0)`
    const { status, stderr } = run(image, ['/opt/holdfast/bin/node24', '--input-type=module', '--eval', compiles], user)
    check(`${file} is compiled for user ${user || 'root'}`, status === 0, stderr)
  }
  const served = await serves(image)
  check('a node serves', /^volume data.*healthy|^data\b/m.test(served), served)

  const has = (words: string) => run(image, ['sh', '-c', words]).stdout.trim()
  const tests = has("find /opt/holdfast -path '*/node_modules' -prune -o -name '*.test.ts' -print")
  check('no tests', tests === '' && !existsSync(path.join(image, 'opt/holdfast/test')), tests)
  const dev = ['tap', 'tap-parser', 'typescript', 'fast-check']
    .filter((name) => existsSync(path.join(image, 'opt/holdfast/node_modules', name)))
  check('no development packages, no npm', dev.length === 0 && has('command -v npm') === '', dev.join())
  const bill = readFileSync(path.join(image, 'usr/share/doc/holdfast/sbom.json'), 'utf8')
  check('licences and a bill of materials', ['e2fsprogs', 'koffi', 'xfsprogs'].every((one) => bill.includes(`"${one}"`))
    && existsSync(path.join(image, 'usr/share/doc/holdfast/LICENSE')))

  const mkfs = path.join(image, 'sbin/mkfs.xfs')
  renameSync(mkfs, `${mkfs}.away`)
  const without = doctor(image).of('file systems')
  renameSync(`${mkfs}.away`, mkfs)
  check('a program that is missing is named', /not found: mkfs\.xfs/.test(without), without)
  const native = path.join(image, 'opt/holdfast/node_modules/@node-rs')
  renameSync(native, `${native}.away`)
  const started = ['holdfast', 'node', '--name', 'n1', '--dir', '/srv/slow', '--disk', 'path=/srv/disk,size=1Gi']
  const { status, stdout, stderr } = run(image, started)
  const isSick = doctor(image).status === 1
  renameSync(`${native}.away`, native)
  const isRefused = isSick && status !== 0 && /no native crc32c/.test(stdout + stderr)
  check('without native crc32c no node starts', isRefused, stdout + stderr)
  checkMusl(builder)
  const whole = has('du -sm --exclude=/proc --exclude=/dev --exclude=/srv / | cut -f1')
  say(`         ${whole} MiB, of them ${has('du -sm /opt/holdfast | cut -f1')} Holdfast`)
}

/** A root that has musl and no glibc: busybox, and the launcher. */
function checkMusl(builder: string): void {
  const root = path.join(builder, 'musl')
  for (const folder of ['bin', 'lib', 'app/bin', 'proc', 'dev']) mkdirSync(path.join(root, folder), { recursive: true })
  step('busybox', () => run(builder, ['apt-get', '-q', '-y', 'install', '--no-install-recommends', 'busybox-static']))
  for (const name of ['sh', 'uname', 'readlink', 'dirname']) {
    cpSync(path.join(builder, 'bin/busybox'), path.join(root, 'bin', name))
  }
  cpSync(path.join(ROOT, 'bin/node24'), path.join(root, 'app/bin/node24'))
  const launched = () => run(root, ['/bin/sh', '/app/bin/node24', 'x.ts'])
  writeFileSync(path.join(root, 'lib/ld-musl-x86_64.so.1'), '')
  const { status, stderr } = launched()
  check('musl is refused in a sentence', status === 1 && /needs a Linux with glibc/.test(stderr), stderr)
  writeFileSync(path.join(root, 'lib/ld-linux-x86-64.so.2'), '')
  check('beside glibc it is not', !/glibc/.test(launched().stderr))
}

async function main(): Promise<number> {
  if (process.getuid?.() !== 0) throw new Error('a chroot needs root')
  const isThere = spawnSync('mmdebstrap', ['--version']).status === 0
  if (!isThere) throw new Error('mmdebstrap is missing: `apt-get install mmdebstrap`')
  const folder = mkdtempSync(path.join(os.tmpdir(), 'holdfast-image-'))
  const isKept = process.argv.includes('--keep')
  const end = (): void => {
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
    if (isKept || mounts.includes(folder)) say(`kept: ${folder}${isKept ? '' : ', since something is mounted there'}`)
    else rmSync(folder, { recursive: true, force: true })
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => (end(), process.exit(1)))
  try {
    const { image, builder } = make(folder)
    await use(image, builder)
  } finally {
    end()
  }
  return counts.failed === 0 ? 0 : 1
}

process.exitCode = await main().catch((error: unknown) => {
  say(`FAIL  ${(error as Error).message}`)
  counts.failed++
  return 1
})
say(`${counts.passed} passed, ${counts.failed} failed`)
