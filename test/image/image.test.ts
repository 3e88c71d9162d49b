/**
 * The image, as far as it is seen without making it (`npm run image:check` makes it): all that runs is taken and
 * nothing else, every program that is run on a host is in it, and packages are those of the day that its base names.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { HOST_PROGRAMS, packageOf } from '../../csi/host/host-command.ts'
import { baseImage, debianPrograms, INSTALL, isShipped, ROOT, shippedParts } from './shipped.ts'

const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0').filter(Boolean)
const textOf = (file: string): string => readFileSync(path.join(ROOT, file), 'utf8')

t.test('what runs needs nothing that is left out', async (t) => {
  const parts = shippedParts()
  for (const part of parts) t.ok(files.some((file) => isShipped(file, [part])), `${part} is there`)
  const code = files.filter((file) => isShipped(file, parts) && /\.(?:ts|mjs)$/.test(file))
  t.ok(code.length > 300, `${code.length} files`)
  for (const file of code) {
    for (const [, name] of textOf(file).matchAll(/(?:from|import|import\()\s*'(\.[^']+)'/g)) {
      const wanted = path.join(path.dirname(file), name!)
      if (!isShipped(wanted, parts)) t.fail(`${file} needs ${wanted}`)
    }
  }
  t.same(code.filter((file) => /\.test\.ts$|^test\//.test(file)), [], 'no tests')
})

t.test('what Docker sees is that, and the script', async (t) => {
  const [first, ...seen] = textOf('.dockerignore').split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  t.equal(first, '*')
  t.same(seen.sort(), [...shippedParts(), 'image/install.sh'].map((part) => `!${part}`).sort())
})

t.test('every program that is run on a host', async (t) => {
  // A Debian without coreutils is none.
  const packages = [...debianPrograms(), 'coreutils']
  // For `--device fuse`, which is for trying out.
  for (const program of HOST_PROGRAMS.filter((one) => one !== 'nbdfuse')) {
    t.ok(packages.includes(packageOf(program)), `${program} is in ${packageOf(program)}`)
  }
  t.ok(packages.includes('kmod'), 'and modprobe')
})

t.test('versions and steps', async (t) => {
  const { version } = JSON.parse(textOf('package.json')) as { version: string }
  t.match(textOf('image/Dockerfile'), `ARG VERSION=${version}\n`)
  t.match(textOf('charts/holdfast/Chart.yaml'), `appVersion: ${version}\n`)
  t.match(baseImage().day, /^20\d{6}$/)
  const steps = [...textOf('image/Dockerfile').matchAll(/^RUN sh \S*install\.sh (\w+)/gm)].map(([, step]) => step)
  t.same(steps, ['application', 'system'])
  const user = /^runAsUser: (\d+)$/m.exec(textOf('charts/holdfast/templates/_names.tpl'))![1]!
  t.match(textOf('image/install.sh'), `USER_WITHOUT_RIGHTS=${user}\n`, 'who the chart runs things as')
  t.equal(spawnSync('sh', ['-n', INSTALL]).status, 0)
  t.match(spawnSync('sh', [INSTALL, 'other'], { encoding: 'utf8' }), { status: 2, stderr: /^usage: / })
})

t.test('packages are those of the day', async (t) => {
  const program = /awk '([\s\S]*?)' "\$sources"/.exec(readFileSync(INSTALL, 'utf8'))![1]!
  const pinned = (lines: string[]): string[] =>
    execFileSync('awk', [program], { input: `${lines.join('\n')}\n`, encoding: 'utf8' }).trimEnd().split('\n')
  const day = 'http://s.test/debian/20250520T000000Z'
  const part = (uri: string): string[] => ['Types: deb', `# ${day}`, `URIs: ${uri}`, 'Suites: x']
  t.same(pinned(part('http://d.test/debian')), part(day))
  const other = ['Types: deb', '# a word', 'URIs: http://d.test/debian', 'Suites: x']
  t.same(pinned(other), other, 'a Debian that names no day stays as it is')
})
