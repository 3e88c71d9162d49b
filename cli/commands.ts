/**
 * Every command there is: its words, what it takes, how it is explained, and where its code is. The code is loaded only
 * when the command runs, so that `holdfast help` and the supervisor stay small. One table serves parsing, help and the
 * hint after a slip.
 */
import type { OptionSpec, PositionalSpec } from './arguments.ts'
import { CA_COMMANDS } from './ca-commands.ts'
import type { Command, RunRaw } from './command.ts'
import { csiCommands } from './csi-commands.ts'
import { snapshotCommands } from './snapshot-commands.ts'
import { tokenCommands } from './token-commands.ts'
import { volumeCommands } from './volume-commands.ts'

export const GLOBAL_OPTIONS: Record<string, OptionSpec> = {
  output: { value: 'FORMAT', short: 'o', summary: 'text (default) or json' },
  help: { short: 'h', summary: 'how the command is used' },
}

const ENDPOINT: Record<string, OptionSpec> = {
  endpoint: {
    value: 'PATH', summary: 'api.sock, a node or a dev folder, or HOST:PORT (else HOLDFAST_ENDPOINT, else ./.holdfast)',
  },
  tls: { value: 'DIR', summary: 'new: for HOST:PORT, the folder of your certificate (else HOLDFAST_TLS)' },
  'token-file': {
    value: 'FILE',
    summary: 'new: for HOST:PORT, your bearer token; --tls DIR then has its ca.crt (else HOLDFAST_TOKEN_FILE)',
  },
}
const NAME: PositionalSpec[] = [{ name: 'NAME' }]

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
  {
    words: 'disk evict',
    summary: 'cluster: empty a disk, by its uuid (`holdfast disk ls`)',
    positionals: [{ name: 'UUID' }],
    options: { undo: { summary: 'use it again' }, ...ENDPOINT },
    examples: ['holdfast disk evict 0b9f1c52-7d1e-4a65-9f0c-3f6f6c1d2e3a'],
    load: async () => (await import('./disk.ts')).evictDisk,
  },
]

const NODE_COMMANDS: Command[] = [
  {
    words: 'node',
    summary: 'run a node: a supervisor and its daemon, in the foreground',
    positionals: [],
    options: {
      name: { value: 'NAME', summary: 'required; 1 to 63 of a-z, 0-9 and -' },
      'kube-node': { value: 'NAME', summary: 'new: instead: as Kubernetes calls it; its label says the zone' },
      kubeconfig: { value: 'FILE', summary: 'new: of --kube-node, elsewhere than in a pod' },
      dir: { value: 'DIR', summary: 'required; the node keeps its state in DIR/NAME' },
      disk: {
        value: 'path=P[,size=S][,pool=N][,tags=a+b]',
        many: true,
        summary: 'a device, or a file (made with size= when it is not there)',
      },
      'listen-tcp': { value: 'HOST:PORT', summary: 'also serve NBD over TCP; on loopback, or over TLS' },
      'listen-metrics': {
        value: 'HOST:PORT',
        summary: 'new: /metrics, /healthz and /readyz over HTTP; a PORT alone is on loopback; off by default',
      },
      'scrub-light': {
        value: 'DURATION', summary: 'new: how often maps of copies are looked at; `off`: never (default 24h)',
      },
      'scrub-deep': {
        value: 'DURATION', summary: 'new: how often every block is read and verified; `off`: never (default 168h)',
      },
      'scrub-rate': { value: 'SIZE', summary: 'new: bytes a second of a scrub while there is I/O (default 32Mi)' },
      workers: { value: 'N', summary: 'data threads (default: 1 up to 4 cores, then half the cores)' },
      zone: { value: 'ZONE', summary: 'failure domain: copies go to different ones first' },
      'new-zone': { summary: 'new: the zone may be one that no other node of the cluster is in' },
      store: { value: 'URL[,URL]', summary: 'new: of a cluster: its store; `kube:` in a pod. Without it, by itself' },
      'listen-peer': { value: 'HOST:PORT', summary: 'data of other nodes, who are told this (default 127.0.0.1:0)' },
      'listen-api': { value: 'HOST:PORT', summary: 'control by other nodes and users (default 127.0.0.1:0)' },
      tls: { value: 'DIR', summary: 'new: its ca.crt, tls.crt and tls.key (`holdfast ca issue`); TLS 1.3 everywhere' },
      'no-tls': { summary: 'new: a node of a cluster in plain text, on loopback only, for trying out' },
      'cluster-key': { value: 'FILE', summary: 'key for encrypted volumes that name none; the same on every node' },
      config: { value: 'FILE', summary: 'the same as JSON: {"name", "dir", "disks": [{"path", ..}], ..}; flags win' },
    },
    examples: [
      'holdfast node --name n1 --dir /var/lib/holdfast --disk path=/dev/sdb,tags=ssd',
      'holdfast node --name n1 --dir ./state --disk path=./disk0,size=10Gi --listen-tcp 127.0.0.1:10809',
      'holdfast node --config /etc/holdfast.json',
      'holdfast node --name n1 --dir ./state --disk path=./disk1,size=4Gi --no-tls --store http://127.0.0.1:2379',
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
  nodeWish('cordon', 'cluster: give a node no new copies'),
  nodeWish('uncordon', 'cluster: let a node have new copies again; ends a drain'),
  nodeWish('drain', 'cluster: move everything off a node'),
  {
    words: 'node rm',
    summary: 'cluster: a node that is down and gone for good is no node any more; its copies are replaced',
    positionals: NAME,
    options: ENDPOINT,
    examples: ['holdfast node rm n3'],
    load: async () => (await import('./node.ts')).removeNode,
  },
]

function nodeWish(word: 'cordon' | 'uncordon' | 'drain', summary: string): Command {
  return {
    words: `node ${word}`,
    summary,
    positionals: NAME,
    options: ENDPOINT,
    examples: [`holdfast node ${word} n1`],
    load: async () => (await import('./node.ts')).wishOfNode(word),
  }
}

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
    summary: 'try it out: nodes with disk files and a volume `demo`, in the foreground',
    positionals: [],
    options: {
      dir: DEV_FOLDER,
      nodes: { value: 'N', summary: 'nodes to start, 1 to 9 (default: 3), all on this host; 1 is by itself' },
      store: { value: 'URL[,URL]', summary: 'cluster store to use (default with several nodes: one of its own)' },
      size: { value: 'SIZE', summary: 'disk file of each node of a new folder (default: 2Gi; of one node 4Gi)' },
      volume: { value: 'NAME:SIZE[:REPLICAS]', many: true, summary: 'also make this volume unless it is there' },
      'no-demo': { summary: 'do not make the volume `demo`' },
      tls: { summary: 'new: with certificates of a CA of its own; nodes, store and control API talk over TLS' },
    },
    examples: [
      'holdfast dev',
      'holdfast dev --nodes 1 --size 8Gi',
      'holdfast dev --dir /tmp/hf --volume data:2Gi:0 --no-demo',
    ],
    load: async () => (await import('./dev.ts')).runDev,
  },
  devControl('kill', 'SIGKILL all processes of a dev node, or of `store`, at once, as a dead host'),
  devControl('stop', 'stop a dev node, or `store`, cleanly'),
  devControl('start', 'start a dev node, or `store`, that is down'),
]

const DEMO_COMMANDS: Command[] = [
  {
    words: 'demo failover',
    summary: 'on a running dev cluster: kill the node that leads a volume under a checked load; what the client sees',
    positionals: [],
    options: { dir: DEV_FOLDER },
    examples: ['holdfast demo failover', 'holdfast demo failover -o json'],
    load: async () => (await import('./demo-failover.ts')).demoFailover,
  },
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
    words: 'explain',
    summary: 'cluster: where each copy of a volume is, why there, and what it waits for',
    positionals: [{ name: 'VOLUME' }],
    options: ENDPOINT,
    examples: ['holdfast explain data-1'],
    load: async () => (await import('./volume-wishes.ts')).explainVolume,
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

const STATE: OptionSpec = { value: 'DIR', summary: 'where the keeper has its table (default: /var/lib/holdfast/host)' }

const DEVICE_COMMANDS: Command[] = [
  {
    words: 'attach',
    summary: 'cluster: make a volume a block device of this host, held by it alone until `holdfast detach`',
    positionals: NAME,
    options: {
      mount: { value: 'DIR', summary: 'also mount its file system there; one is made when the volume is blank' },
      'fs-type': { value: 'TYPE', summary: 'with --mount: ext4 (default) or xfs' },
      mode: { value: 'MODE', summary: 'single (default): this host only; shared, read-only: others too' },
      state: STATE,
      ...ENDPOINT,
    },
    examples: ['holdfast attach data-1', 'holdfast attach data-1 --mount /srv', 'holdfast attach data-1 --fs-type xfs'],
    load: async () => (await import('./keeper.ts')).attachDevice,
  },
  {
    words: 'detach',
    summary: 'cluster: end what `holdfast attach` began; other mounts of the device have to be gone',
    positionals: NAME,
    options: { state: STATE, ...ENDPOINT },
    examples: ['holdfast detach data-1'],
    load: async () => (await import('./keeper.ts')).detachDevice,
  },
  {
    words: 'keeper',
    summary: 'keep the devices of this host alive, in the foreground; `holdfast attach` starts one when none runs',
    positionals: [],
    options: { state: STATE },
    examples: ['holdfast keeper', 'holdfast keeper --state /var/lib/holdfast/host'],
    load: async () => (await import('./keeper.ts')).keepDevices,
  },
]

const STORE_COMMANDS: Command[] = [
  {
    words: 'store',
    summary: 'run the embedded cluster store, in the foreground',
    positionals: [],
    options: {
      dir: { value: 'DIR', summary: 'required; where it keeps everything' },
      listen: { value: 'HOST:PORT', summary: 'default 127.0.0.1:2379; beyond loopback only with --tls' },
      tls: { value: 'DIR', summary: 'new: its certificate (`holdfast ca issue --role store`), for nodes and admins' },
    },
    examples: ['holdfast store --dir /var/lib/holdfast-store --listen 127.0.0.1:2379'],
    load: async () => (await import('./store-run.ts')).runStore,
  },
  {
    words: 'store rebuild',
    summary: 'a cluster store is lost for good: make its records anew in an empty one from the disks of nodes',
    positionals: [],
    options: {
      'from-nodes': { summary: 'required: of all nodes that were started again with that store' },
      store: { value: 'URL[,URL]', summary: 'the empty store (default: where a node of --endpoint waits)' },
      'dry-run': { summary: 'show what would be made, and what speaks against it; write nothing' },
      force: { summary: 'the last resort, without what is missing; says first what that may cost' },
      confirm: { value: 'TOKEN', summary: 'with --force: what its refusal asked for' },
      ...ENDPOINT,
    },
    examples: [
      'holdfast store rebuild --from-nodes --store http://127.0.0.1:2379 --dry-run',
      'holdfast store rebuild --from-nodes --store http://127.0.0.1:2379',
    ],
    load: async () => (await import('./store-rebuild.ts')).rebuildStore,
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
  ...DEV_COMMANDS, ...DEMO_COMMANDS, ...NODE_COMMANDS, ...STORE_COMMANDS,
  ...volumeCommands(ENDPOINT), ...snapshotCommands(ENDPOINT), ...DISK_COMMANDS, ...DEVICE_COMMANDS, ...HOST_COMMANDS,
  ...CA_COMMANDS, ...tokenCommands(ENDPOINT), ...csiCommands(ENDPOINT), ...OFFLINE_COMMANDS,
]
