/**
 * Node's compile cache, kept with the installed packages. Without it every process and thread loads the compiler that
 * strips TypeScript types: measured, it costs 31 MiB in the supervisor, 37 MiB in the daemon and 0.4 s at start.
 * The cache is keyed by source, Node's version and the processor's abilities, so it is never wrong; where it cannot be
 * written all works as before.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { cachedDataVersionTag } from 'node:v8'
import { DAEMON_FLAGS } from './daemon-memory.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const FOLDER = path.join(ROOT, 'node_modules/.cache/holdfast')
const CACHE = 'NODE_COMPILE_CACHE'
const SOURCES = ['cli', 'cluster', 'csi', 'dataplane', 'engine']

/** What runs for as long as a node does, and so should not have compiled anything; by V8's flags that a cache is of. */
export const RESIDENT = [
  {
    flags: [],
    files: [
      'cli/main.ts', 'cli/node-run.ts', 'cli/kube-node.ts', 'dataplane/peer/supervisor-report.ts',
      'cluster/tls/tls-folder.ts', 'cli/store-run.ts', 'cli/keeper.ts', 'cli/csi-node.ts', 'cli/csi-controller.ts',
      'cli/ca-kube.ts',
    ],
  },
  { flags: DAEMON_FLAGS, files: ['dataplane/daemon.ts', 'dataplane/worker.ts', 'cluster/metrics/http-server.ts'] },
]

/** The environment for a Node process of ours. */
export function withCompileCache(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { [CACHE]: FOLDER, ...environment }
}

/**
 * Names, sizes and times (s, as an image keeps them) of the sources, and what V8 asks of its caches, of which the
 * processor is a part: an image may be built on another one. 2 ms, and different after every upgrade.
 */
function fingerprint(): string {
  const hash = createHash('sha256').update(`${process.version} ${cachedDataVersionTag()}`)
  for (const folder of SOURCES) {
    const entries = readdirSync(path.join(ROOT, folder), { recursive: true, withFileTypes: true })
    // Folders have sizes of their file system's choice.
    for (const { parentPath, name } of entries.filter((entry) => entry.isFile())) {
      const file = path.join(parentPath, name)
      const { size, mtimeMs } = statSync(file)
      hash.update(`${path.relative(ROOT, file)} ${size} ${Math.floor(mtimeMs / 1000)}\n`)
    }
  }
  return hash.digest('hex').slice(0, 16)
}

/**
 * Fill the cache in processes that end, so that the first start after an upgrade is as small as later ones. 2 ms when
 * that was done, else two seconds.
 * @returns whether it was filled now: what this process compiled itself before, it still has in memory
 */
export function warmCompileCache(folder = withCompileCache(process.env)[CACHE]!): boolean {
  const marker = path.join(folder, `warm-${fingerprint()}`)
  if (existsSync(marker)) return false
  try {
    mkdirSync(folder, { recursive: true })
    for (const name of readdirSync(folder)) if (name.startsWith('warm-')) rmSync(path.join(folder, name))
    writeFileSync(marker, '')
  } catch {
    return false
  }
  for (const { flags, files } of RESIDENT) {
    const imports = files.map((file) => `await import(${JSON.stringify(path.join(ROOT, file))})`)
    spawnSync(process.execPath, [...flags, '--input-type=module', '--eval', imports.join('\n')], {
      stdio: 'ignore',
      env: { ...process.env, [CACHE]: folder },
    })
  }
  return true
}
