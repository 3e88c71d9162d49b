/**
 * The command as a user meets it: help on every level, one sentence and the right exit code for every slip, JSON where
 * asked, and never a stack trace.
 */
import { availableParallelism } from 'node:os'
import path from 'node:path'
import t from 'tap'
import { COMMANDS } from '../../cli/commands.ts'
import { commandHelp, groupHelp } from '../../cli/help.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { holdfast } from './run-holdfast.ts'

t.test('every command is explained with an example of itself', async (t) => {
  for (const command of COMMANDS) {
    const text = commandHelp(command).join('\n')
    t.match(text, /Usage: holdfast /, command.words)
    t.ok(command.examples.length > 0 && command.examples.every((line) => line.startsWith(`holdfast ${command.words}`)))
    for (const option of Object.keys(command.options)) t.match(text, `--${option}`, command.words)
    if (command.loadRaw === undefined) t.type(await command.load(), 'function', command.words)
  }
  t.match(groupHelp('').join('\n'), /volume create/)
  const clone = commandHelp(COMMANDS.find(({ words }) => words === 'volume clone')!).join('\n')
  t.match(clone, /what is not said is as it is for that one/)
  t.notMatch(clone.replace(/--size .*|-o, .*/g, ''), /default/, 'a clone has what its origin has')
})

t.test('help and version', async (t) => {
  const [bare, group, help, leaf, version, json] = await Promise.all([
    holdfast([]), holdfast(['volume']), holdfast(['help', 'volume', 'create']),
    holdfast(['volume', 'create', '--help']), holdfast(['--version']), holdfast(['-o', 'json', '--version']),
  ])
  t.match(bare, { code: 0, stdout: /volume create/, stderr: '' })
  t.match(group, { code: 2, stdout: /volume resize/ })
  t.match(help, { code: 0, stdout: /--durability MODE/ })
  t.equal(leaf.stdout, help.stdout)
  t.match(version, { code: 0, stdout: /^holdfast \d+\.\d+\.\d+ \(Node v/ })
  t.match(JSON.parse(json.stdout), { version: /^\d/ })
})

t.test('slips end in one sentence', async (t) => {
  const dir = temporaryFolder(t)
  const deep = path.join(dir, 'd'.repeat(100))
  const table: Array<[words: string, code: number, stderr: RegExp]> = [
    ['volum', 2, /there is no command "volum"; did you mean `holdfast volume`\?/],
    ['volume creat x', 2, /did you mean `holdfast volume create`\?/],
    ['node lss', 2, /did you mean `holdfast node ls`\?/],
    ['help nothing', 2, /there is no command "nothing"/],
    ['--frobnicate', 2, /unknown option --frobnicate/],
    ['volume create', 2, /NAME is missing/],
    ['volume create x', 2, /--size is missing/],
    ['volume create x --sise 1Gi', 2, /did you mean --size\?/],
    ['volume create Data --size 1Gi', 2, /"Data" is not allowed; use 1 to 63 characters of a-z, 0-9 and -/],
    ['volume create x --size 10.5', 2, /size "10\.5" is not allowed; .* multiple of 1 MiB, at most 64 TiB/],
    ['volume create x --size 10G5', 2, /multiple of 1 MiB/],
    ['volume create x --size 65Ti', 2, /at most 64 TiB/],
    ['volume create x --size 1Gi --param nope', 2, /parameter nope is not K=V/],
    ['volume create x --size 1Gi --pool a --param pool=b', 2, /pool is given twice/],
    ['snapshot create data Now', 2, /snapshot name "Now" is not allowed; use 1 to 63 characters/],
    ['snapshot create data now --label x', 2, /--label x is not K=V/],
    ['snapshot create data now --label a=b~c', 2, /label a = "b~c" is not allowed; allowed: a value of at most 63/],
    ['snapshot create data', 2, /NAME is missing/],
    ['snapshot create', 2, /VOLUME is missing/],
    ['snapshot create data now --group a,b', 2, /"now" is one word too many; with --group only NAME is given/],
    ['snapshot create Now --group a,b', 2, /snapshot name "Now" is not allowed/],
    ['snapshot create now --group a,b,a', 2, /group = "a" is not allowed; allowed: 1 to 32 names of volumes, each/],
    ['snapshot create now --group ,', 2, /group = "0 volumes" is not allowed/],
    ['snapshot create now --group a --label holdfast.io/x=1', 2, /other keys/],
    ['snapshot ls', 2, /VOLUME is missing; name one, or list group snapshots: --groups/],
    ['snapshot ls data --groups', 2, /--groups are of no one volume/],
    ['snapshot delete', 2, /VOLUME is missing; name one, or a group snapshot: --group NAME/],
    ['snapshot delete data now --group one', 2, /--group names all that goes/],
    ['snapshot delete data', 2, /NAME is missing/],
    ['snapshot prune data --keep-last 0', 2, /nothing would be kept; say what is/],
    ['snapshot create data now --label holdfast.io/x=1', 2, /other keys: holdfast\.io\/ is for those that Holdfast/],
    ['snapshot schedule data hourly', 2, /snapshot-schedule = "hourly" is not allowed; allowed: none, or e\.g\./],
    ['snapshot schedule data', 2, /SCHEDULE is missing/],
    ['volume qos data', 2, /no limit is named/],
    ['volume rollback data', 2, /--to is missing; name a snapshot/],
    ['volume ls -o yaml', 2, /output format yaml is unknown; use text or json/],
    ['volume ls', 1, /no daemon answers at .*\.holdfast \(the default.*\): there is no such folder or socket/],
    ['volume ls --endpoint /nope', 1, /no daemon answers at \/nope \(from --endpoint\)/],
    ['dev --nodes 10', 2, /--nodes 10 is no number of nodes; give 1 to 9/],
    ['dev --volume x', 2, /NAME:SIZE\[:REPLICAS\]/],
    ['dev --volume X:1Gi:0', 2, /"X" is not allowed/],
    [`dev --dir ${deep}`, 2, /has \d+ bytes, the limit of a unix socket is 107/],
    ['dev --size 900Pi', 2, /size = "900Pi" is not allowed/],
    ['dev --size 1Pi --dir full', 1, /bytes free, \d+ are needed/],
    ['dev kill n1', 1, /no `holdfast dev` runs in that folder/],
    ['node', 2, /a node needs a name/],
    ['node --name N1 --dir d', 2, /node name "N1" is not allowed/],
    ['node --name n1 --dir d --disk size=1Gi', 2, /names no path/],
    ['node --name n1 --dir d --disk path=x,pol=a', 2, /did you mean pool=\?/],
    ['node --name n1 --dir d --disk path=x --disk path=./x', 2, /given twice/],
    ['node --name n1 --dir d --listen-tcp 70000', 2, /HOST:PORT/],
    ['node --name n1 --dir d --workers 0', 2, /1 to 64/],
    ['node --name n1 --dir d --config /nope.json', 2, /cannot be read/],
    ['node --name n1 --dir d --listen-peer 7', 2, /is for nodes of a cluster; name the cluster store too/],
    ['node --name n1 --dir d --no-tls --store http://127.0.0.1:1 --listen-api 0.0.0.0:7', 2, /there is no TLS/],
    ['node --name n1 --dir d --store http://127.0.0.1:1', 2, /add --tls DIR .* or --no-tls: plain text/],
    ['node --name n1 --dir d --tls d --store http://a:1', 2, /--store http:\/\/a:1 is open to other hosts/],
    ['node --name n1 --dir d --no-tls --store a', 2, /"a" is no address of a cluster store; give http:\/\/HOST:PORT/],
    ['node --name n1 --dir d --tls nope', 1, /nope\/tls\.crt cannot be used for TLS: it is not there/],
    ['volume ls --endpoint 127.0.0.1:1', 2, /answers over TLS only; name your certificate with --tls DIR/],
    ['node --name n1 --dir e --no-tls --store http://127.0.0.1:1 --workers 17', 2, /1 to 16/],
    ['node --name n1 --dir d --cluster-key k', 2, /is for nodes of a cluster/],
    ['volume create x --size 1Gi --key-file k', 2, /is for an encrypted volume; add --encryption/],
    ['volume create x --size 1Gi --encryption --key-file none', 2, /none is no key file: ENOENT/],
    ['volume unlock x', 2, /--key-file is missing/],
    ['volume rewrap x --key-file /dev/null --new-key-file k', 2, /it has 0 bytes that are no key; .*openssl rand/],
  ]
  const judge = async ([words, expected, message]: (typeof table)[number]): Promise<void> => {
    const { code, stdout, stderr } = await holdfast(words.split(' '), { cwd: dir })
    t.equal(code, expected, `${words}: exit code`)
    t.match(stderr, message, words)
    t.notMatch(`${stdout}${stderr}`, /^\s+at |node:internal/m, `${words}: no stack trace`)
    t.equal(stderr.trimEnd().split('\n').length, 1, `${words}: one line`)
  }
  // As many at a time as there are processors: all at once, each takes as long as all together, on a busy machine
  // longer than a command that hangs is waited for.
  const waiting = [...table]
  const lane = async (): Promise<void> => {
    for (let row = waiting.shift(); row !== undefined; row = waiting.shift()) await judge(row)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, lane))
})

t.test('with -o json a failure is JSON on stderr and stdout is empty', async (t) => {
  const env = { HOLDFAST_ENDPOINT: '/nope' }
  const { code, stdout, stderr } = await holdfast(['volume', 'ls', '-o', 'json'], { env })
  t.equal(code, 1)
  t.equal(stdout, '')
  const error = { code: 'unreachable', message: /HOLDFAST_ENDPOINT/, detail: { endpoint: '/nope' } }
  t.match(JSON.parse(stderr), { error })
})

t.test('a reader that goes away is no failure', async (t) => {
  const { execFile } = await import('node:child_process')
  const { MAIN } = await import('./run-holdfast.ts')
  const command = `"${process.execPath}" "${MAIN}" help | true; echo "\${PIPESTATUS[0]}"`
  const stdout = await new Promise<string>((resolve) => {
    execFile('bash', ['-c', command], (_error, out) => resolve(out))
  })
  t.equal(stdout.trim(), '0')
})
