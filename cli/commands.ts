/**
 * Every command there is: its words, what it takes, how it is explained, and where its code is. The code is loaded only
 * when the command runs, so that `holdfast help` and the supervisor stay small. One table serves parsing, help and the
 * hint after a slip.
 */
import type { Arguments, OptionSpec, PositionalSpec } from './arguments.ts'
import type { Output } from './output.ts'

export interface Invocation {
  arguments: Arguments
  output: Output
}

export type Run = (invocation: Invocation) => Promise<number>
/** Commands that read their own words. */
export type RunRaw = (words: string[], output: Output) => Promise<number>

export interface Command {
  words: string
  summary: string
  positionals: PositionalSpec[]
  options: Record<string, OptionSpec>
  examples: string[]
  load: () => Promise<Run>
  /** Set for commands that take all their words themselves. */
  loadRaw?: () => Promise<RunRaw>
}

export const GLOBAL_OPTIONS: Record<string, OptionSpec> = {
  output: { value: 'FORMAT', short: 'o', summary: 'text (default) or json' },
  help: { short: 'h', summary: 'how the command is used' },
}

const ENDPOINT: Record<string, OptionSpec> = {
  endpoint: { value: 'PATH', summary: 'api.sock, a node or a dev folder (else HOLDFAST_ENDPOINT, else ./.holdfast)' },
}
const NAME: PositionalSpec[] = [{ name: 'NAME' }]

const VOLUME_COMMANDS: Command[] = [
  {
    words: 'volume create',
    summary: 'make a volume and export it over NBD',
    positionals: NAME,
    options: {
      size: { value: 'SIZE', summary: 'required; a multiple of 1 MiB, e.g. 10Gi' },
      replicas: { value: 'N', summary: 'copies beside the primary, 0 to 5, at most nodes - 1 (default: 2 if it can)' },
      durability: { value: 'MODE', summary: 'durable (default): answered = on stable storage; writeback: on flush' },
      'block-size': { value: 'BYTES', summary: '4096 (default) or 512' },
      'on-full': { value: 'WHAT', summary: 'hold (default): writes wait for space; error: ENOSPC at once' },
      'io-timeout': { value: 'TIME', summary: 'how long I/O is held before it fails: 30s, 10m (default), 0 = never' },
      pool: { value: 'POOL', summary: 'pool of disks to use (default: default)' },
      'disk-tags': { value: 'TAGS', summary: 'only disks with all these tags, e.g. ssd,nvme' },
      encryption: { summary: 'refused by this version' },
      param: { value: 'K=V', many: true, summary: 'any parameter of a StorageClass, with or without holdfast.io/' },
      ...ENDPOINT,
    },
    examples: [
      'holdfast volume create data-1 --size 10Gi',
      'holdfast volume create scratch --size 500Mi --durability writeback --on-full error',
      'holdfast volume create db --size 1Ti --param holdfast.io/pool=fast -o json',
    ],
    load: async () => (await import('./volume.ts')).createVolume,
  },
  {
    words: 'volume ls',
    summary: 'list volumes',
    positionals: [],
    options: ENDPOINT,
    examples: ['holdfast volume ls', 'holdfast volume ls -o json'],
    load: async () => (await import('./volume.ts')).listVolumes,
  },
  {
    words: 'volume inspect',
    summary: 'show everything about a volume',
    positionals: NAME,
    options: ENDPOINT,
    examples: ['holdfast volume inspect demo', 'holdfast volume inspect demo -o json | jq -r .nbd[0]'],
    load: async () => (await import('./volume.ts')).inspectVolume,
  },
  {
    words: 'volume resize',
    summary: 'grow a volume',
    positionals: NAME,
    options: { size: { value: 'SIZE', summary: 'required; above the present one' }, ...ENDPOINT },
    examples: ['holdfast volume resize demo --size 2Gi'],
    load: async () => (await import('./volume.ts')).resizeVolume,
  },
  {
    words: 'volume delete',
    summary: 'delete volumes and give their space back',
    positionals: [{ name: 'NAME', many: true }],
    options: { force: { summary: 'end the NBD sessions that use it' }, ...ENDPOINT },
    examples: ['holdfast volume delete scratch', 'holdfast volume delete data-1 data-2 --force'],
    load: async () => (await import('./volume.ts')).deleteVolumes,
  },
]

const DISK_COMMANDS: Command[] = [
  {
    words: 'disk ls',
    summary: 'list disks',
    positionals: [],
    options: ENDPOINT,
    examples: ['holdfast disk ls'],
    load: async () => (await import('./disk.ts')).listDisks,
  },
  {
    words: 'disk add',
    summary: 'give the node another disk, a device or a file',
    positionals: [{ name: 'PATH' }],
    options: {
      size: { value: 'SIZE', summary: 'size of a file to make; for devices and existing files the size they have' },
      pool: { value: 'POOL', summary: 'its pool (default: default)' },
      tags: { value: 'TAGS', summary: 'its tags, e.g. ssd,nvme' },
      ...ENDPOINT,
    },
    examples: ['holdfast disk add /dev/sdb --pool fast --tags ssd', 'holdfast disk add /data/disk1 --size 20Gi'],
    load: async () => (await import('./disk.ts')).addDisk,
  },
  {
    words: 'disk adopt',
    summary: 'take over a disk of a node that is gone, with its volumes',
    positionals: [{ name: 'PATH' }],
    options: ENDPOINT,
    examples: ['holdfast disk adopt /dev/sdb'],
    load: async () => (await import('./disk.ts')).adoptDisk,
  },
]

const NODE_COMMANDS: Command[] = [
  {
    words: 'node',
    summary: 'run a node: a supervisor and its daemon, in the foreground',
    positionals: [],
    options: {
      name: { value: 'NAME', summary: 'required; 1 to 63 of a-z, 0-9 and -' },
      dir: { value: 'DIR', summary: 'required; the node keeps its state in DIR/NAME' },
      disk: {
        value: 'path=P[,size=S][,pool=N][,tags=a+b]',
        many: true,
        summary: 'a device, or a file (made with size= when it is not there)',
      },
      'listen-tcp': { value: 'HOST:PORT', summary: 'also serve NBD over TCP, without authentication; off by default' },
      workers: { value: 'N', summary: 'data threads (default: 1 up to 4 cores, then half the cores)' },
      zone: { value: 'ZONE', summary: 'failure domain, shown by node ls' },
      config: { value: 'FILE', summary: 'the same as JSON: {"name", "dir", "disks": [{"path", ..}], ..}; flags win' },
    },
    examples: [
      'holdfast node --name n1 --dir /var/lib/holdfast --disk path=/dev/sdb,tags=ssd',
      'holdfast node --name n1 --dir ./state --disk path=./disk0,size=10Gi --listen-tcp 127.0.0.1:10809',
      'holdfast node --config /etc/holdfast.json',
    ],
    load: async () => (await import('./node-run.ts')).runNode,
  },
  {
    words: 'node ls',
    summary: 'list nodes with their disks',
    positionals: [],
    options: ENDPOINT,
    examples: ['holdfast node ls'],
    load: async () => (await import('./node.ts')).listNodes,
  },
  {
    words: 'node inspect',
    summary: 'show everything about a node',
    positionals: NAME,
    options: ENDPOINT,
    examples: ['holdfast node inspect n1 -o json'],
    load: async () => (await import('./node.ts')).inspectNode,
  },
]

const DEV_FOLDER: OptionSpec = { value: 'DIR', summary: 'where the state is kept (default: .holdfast)' }

function devControl(word: 'kill' | 'stop' | 'start', summary: string): Command {
  return {
    words: `dev ${word}`,
    summary,
    positionals: [{ name: 'NODE' }],
    options: { dir: DEV_FOLDER },
    examples: [`holdfast dev ${word} n1`],
    load: async () => (await import('./dev-control.ts')).devControl(word),
  }
}

const DEV_COMMANDS: Command[] = [
  {
    words: 'dev',
    summary: 'try it out: a node with a disk file and a volume `demo`, in the foreground',
    positionals: [],
    options: {
      dir: DEV_FOLDER,
      nodes: { value: 'N', summary: 'nodes to start; this version runs 1' },
      size: { value: 'SIZE', summary: 'size of the disk file of each node (default: 4Gi); for a new folder' },
      volume: { value: 'NAME:SIZE:REPLICAS', many: true, summary: 'also make this volume unless it is there' },
      'no-demo': { summary: 'do not make the volume `demo`' },
    },
    examples: ['holdfast dev', 'holdfast dev --dir /tmp/hf --volume data:2Gi:0 --no-demo'],
    load: async () => (await import('./dev.ts')).runDev,
  },
  devControl('kill', 'SIGKILL supervisor and daemon of a dev node at once, as a dead host'),
  devControl('stop', 'stop a dev node cleanly'),
  devControl('start', 'start a dev node that is down'),
]

const HOST_COMMANDS: Command[] = [
  {
    words: 'status',
    summary: 'one page: health, what is wrong, why, what happens next',
    positionals: [],
    options: { watch: { summary: 'show it again every second until Ctrl-C' }, ...ENDPOINT },
    examples: ['holdfast status', 'holdfast status --watch'],
    load: async () => (await import('./status.ts')).showStatus,
  },
  {
    words: 'doctor',
    summary: 'check this host: Node, checksums, kernel, limits, space, tools',
    positionals: [],
    options: ENDPOINT,
    examples: ['holdfast doctor', 'holdfast doctor -o json'],
    load: async () => (await import('./doctor.ts')).runDoctor,
  },
]

const STORE_COMMANDS: Command[] = [
  {
    words: 'store',
    summary: 'run the embedded cluster store, in the foreground',
    positionals: [],
    options: {
      dir: { value: 'DIR', summary: 'required; where it keeps everything' },
      listen: { value: 'HOST:PORT', summary: 'default 127.0.0.1:2379; no authentication: a trusted network only' },
    },
    examples: ['holdfast store --dir /var/lib/holdfast-store --listen 127.0.0.1:2379'],
    load: async () => (await import('./store-run.ts')).runStore,
  },
]

function offline(word: 'inspect' | 'verify' | 'salvage', summary: string, example: string): Command {
  return {
    words: word,
    summary,
    positionals: [{ name: 'ARGUMENTS', optional: true, many: true }],
    options: {},
    examples: [example],
    load: () => Promise.reject(new Error('reads its own words')),
    loadRaw: async () => ((await import(`./offline/${word}.ts`)) as { run: RunRaw }).run,
  }
}

const OFFLINE_COMMANDS: Command[] = [
  offline('inspect', 'offline: a superblock, segment or extent map of a disk', 'holdfast inspect superblock /dev/sdb'),
  offline('verify', 'offline: check every checksum and reference of disks', 'holdfast verify /dev/sdb'),
  offline('salvage', 'offline: read volumes out of disks: raw images, damage map', 'holdfast salvage /dev/sdb'),
]

export const COMMANDS: Command[] = [
  ...DEV_COMMANDS, ...NODE_COMMANDS, ...STORE_COMMANDS, ...VOLUME_COMMANDS, ...DISK_COMMANDS, ...HOST_COMMANDS,
  ...OFFLINE_COMMANDS,
]
