/**
 * Bring node_modules to what package-lock.json says, with words and progress. Run by `bin/node24` when its quick look
 * found a difference: node_modules missing, another lock file checked out, or npm at work since the last look.
 * Plain JavaScript for any Node from 18 on, because Node 24 is one of the packages it fetches.
 *
 * node bin/fetch-packages.mjs production|development
 */
import { spawn, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
const lockFile = join(root, 'package-lock.json')
const installedFile = join(modules, '.package-lock.json')
const node24 = join(modules, 'node', 'bin', 'node')
const need = process.argv[2] === 'development' ? 'development' : 'production'

/** Packages of the lock file that are needed here: those that are not installed, and those of another version. */
function outdated() {
  const wanted = JSON.parse(readFileSync(lockFile, 'utf8')).packages
  if (!existsSync(installedFile)) return { missing: ['node_modules'], changed: [] }
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages
  const missing = []
  const changed = []
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === '' || (entry.dev && need === 'production')) continue
    const here = installed[path]
    // An optional package may be absent (another platform, no compiler), but never of another version.
    if (here === undefined ? entry.optional || entry.devOptional : here.version === entry.version) continue
    if (here === undefined) missing.push(basename(path))
    else changed.push(basename(path))
  }
  return { missing, changed }
}

function finish() {
  try {
    copyFileSync(lockFile, join(modules, `.holdfast-packages-${need}`))
  } catch {
    // A folder that cannot be written: the next start compares again, which only costs time.
  }
  process.exit(0)
}

const fail = (sentence) => {
  console.error(`holdfast: ${sentence}`)
  process.exit(1)
}

const { missing, changed } = outdated()
const differing = [...missing, ...changed]
if (differing.length === 0 && existsSync(node24)) finish()

// `npm ci` begins by deleting everything, under the feet of whatever runs from here. Where packages only lack, they are
// added; a lock file stays as it is with --no-save.
const adds = missing[0] !== 'node_modules' && changed.length === 0 && missing.length > 0 && existsSync(node24)
const command = adds ? ['install', '--no-save'] : ['ci']
const commandText = `\`npm ${command.join(' ')}\``
const why = missing[0] === 'node_modules'
  ? 'the npm packages are not here yet'
  : differing.length === 0
    ? 'Node 24 is not in node_modules'
    : `node_modules differs from package-lock.json in ${differing.length} package(s), e.g. ${differing[0]}`
const amount = adds ? 'what is missing only' : 'about 400 MB on disk, Node 24 among them'
console.error(`holdfast: ${why}; fetching with ${commandText} (${amount})`)

// The npm that started us, if one did; `npm` on the PATH otherwise.
const npm = basename(process.env.npm_execpath ?? '') === 'npm-cli.js'
  ? [process.execPath, process.env.npm_execpath]
  : ['npm']
const startedMs = Date.now()
const seconds = () => Math.round((Date.now() - startedMs) / 1000)
const flags = ['--no-audit', '--no-fund', '--loglevel=error', ...(need === 'development' ? ['--include=dev'] : [])]
const child = spawn(npm[0], [...npm.slice(1), ...command, ...flags], {
  cwd: root,
  stdio: ['ignore', 'pipe', 'pipe'],
  detached: true,
})

const output = []
for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => output.push(chunk))

function packagesOnDisk() {
  try {
    return readdirSync(modules).reduce((count, name) =>
      count + (name.startsWith('@') ? readdirSync(join(modules, name)).length : name.startsWith('.') ? 0 : 1), 0)
  } catch {
    return 0
  }
}
const terminal = process.stderr.isTTY
const progress = setInterval(() => {
  const line = `holdfast: ${seconds()} s, ${packagesOnDisk()} packages unpacked`
  process.stderr.write(terminal ? `\r${line}` : `${line}\n`)
}, terminal ? 500 : 5000)

// npm finishes what it unpacks before it obeys, and has children: they are a process group, ended as one.
let stopped = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    if (stopped) return
    stopped = true
    process.kill(-child.pid, 'SIGTERM')
    setTimeout(() => process.kill(-child.pid, 'SIGKILL'), 1000)
  })
}

child.on('error', (error) => {
  clearInterval(progress)
  fail(error.code === 'ENOENT'
    ? '`npm` was not found; install it (it comes with Node), then repeat this'
    : `npm could not be started: ${error.message}`)
})
child.on('close', (code, signal) => {
  clearInterval(progress)
  if (terminal) process.stderr.write('\n')
  if (stopped) fail('stopped; the next start goes on with the packages')
  if (code !== 0) {
    process.stderr.write(Buffer.concat(output))
    fail(`${commandText} ${signal ? `was ended by ${signal}; repeat this to go on` : 'failed (its words are above)'}`)
  }
  if (!existsSync(node24) || spawnSync(node24, ['--version']).status !== 0) {
    fail('the packages are here but Node 24 is not: npm did not run install scripts. Allow them for this folder, ' +
      'e.g. `npm rebuild --ignore-scripts=false`, then repeat this')
  }
  console.error(`holdfast: npm packages are in place after ${seconds()} s`)
  finish()
})
