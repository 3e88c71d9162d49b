/**
 * Risk: a release on another base than it says, of a text that nobody can check out, or unsigned. Docker and cosign are
 * stand-ins that note how they were called: neither is there, nor a registry, where tests run.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { temporaryFolder } from '../temporary-folder.ts'
import { ROOT } from './shipped.ts'

const BASE_DIGEST = `sha256:${'b'.repeat(64)}`
const IMAGE_DIGEST = `sha256:${'a'.repeat(64)}`

/** A repository with the folder `image`, a tag, and programs that write down how they were called. */
function scene(t: Test, { digest = BASE_DIGEST } = {}) {
  const folder = temporaryFolder(t)
  const [clone, bin] = [path.join(folder, 'clone'), path.join(folder, 'bin')]
  const [calls, dockerfile] = [path.join(folder, 'calls'), path.join(clone, 'image/Dockerfile')]
  writeFileSync(calls, '')
  mkdirSync(bin)
  cpSync(path.join(ROOT, 'image'), path.join(clone, 'image'), { recursive: true })
  const git = (...words: string[]) => execFileSync('git', [
    '-c', 'user.name=t', '-c', 'user.email=t@t.test', '-c', 'init.defaultBranch=main', ...words,
  ], { cwd: clone })
  git('init', '-q')
  git('add', '.')
  git('commit', '-q', '-m', 'x')
  const version = /^ARG VERSION=(.+)$/m.exec(readFileSync(dockerfile, 'utf8'))![1]!
  git('tag', `v${version}`)
  const program = (name: string, body: string): void => {
    const file = path.join(bin, name)
    writeFileSync(file, `#!/bin/sh\nprintf '%s\\n' "${name} $*" >> '${calls}'\n${body}\n`)
    chmodSync(file, 0o755)
  }
  program('docker', `
case "$*" in
  *inspect*) echo '${digest}' ;;
  *) while [ "$1" != --metadata-file ]; do shift; done
     echo '{
  "containerimage.config.digest": "sha256:0",
  "containerimage.digest": "${IMAGE_DIGEST}"
}' > "$2" ;;
esac`)
  program('cosign', '')
  const run = (...words: string[]) => spawnSync('sh', [path.join(clone, 'image/release.sh'), ...words], {
    encoding: 'utf8', env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
  })
  return { version, git, run, clone, calls: () => readFileSync(calls, 'utf8').split('\n').filter(Boolean) }
}

t.test('a release is built on a digest, and signed by one', async (t) => {
  const { version, run, calls } = scene(t)
  const { status, stdout, stderr } = run('example.test/holdfast', version)
  t.equal(status, 0, stderr)
  const [inspected, built, signed, ...more] = calls()
  t.same(more, [])
  const base = inspected!.split(' ').at(-1)!
  t.match(base, /debian:[a-z]+-\d{8}-slim$/)
  for (const word of [
    `--build-arg BASE=${base}@${BASE_DIGEST}`, `--build-arg VERSION=${version}`, '--provenance=mode=max', '--sbom=true',
    `--tag example.test/holdfast:${version}`, '--push',
  ]) t.ok(built!.includes(word), word)
  t.equal(signed, `cosign sign --yes example.test/holdfast@${IMAGE_DIGEST}`)
  t.match(stdout, `image example.test/holdfast@${IMAGE_DIGEST}\n`)
})

t.test('what is refused, before anything is built', async (t) => {
  const { version, git, run, clone, calls } = scene(t)
  t.match(run('example.test/holdfast'), { status: 2, stderr: /^usage: / })
  t.match(run('example.test/holdfast', '99.0.0'), { status: 1, stderr: /is not tagged v99\.0\.0/ })
  writeFileSync(path.join(clone, 'other'), '')
  t.match(run('example.test/holdfast', version), { status: 1, stderr: /not committed/ })
  git('add', '.')
  git('commit', '-q', '-m', 'y')
  t.match(run('example.test/holdfast', version), { status: 1, stderr: /is not tagged/ })
  git('tag', 'v99.0.0')
  t.match(run('example.test/holdfast', '99.0.0'), { status: 1, stderr: /another version/ })
  t.same(calls(), [])
  const silent = scene(t, { digest: 'sha256:short' })
  t.match(silent.run('example.test/holdfast', version), { status: 1, stderr: /no digest/ })
  t.equal(silent.calls().length, 1)
})
