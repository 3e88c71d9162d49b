/** The commands of volumes, as `commands.ts` has all others. */
import type { OptionSpec, PositionalSpec } from './arguments.ts'
import type { Command } from './command.ts'

const NAME: PositionalSpec[] = [{ name: 'NAME' }]

const KEY_FILE: OptionSpec = {
  value: 'FILE', summary: 'of --encryption: key of 32 bytes, raw, hex or base64 (default: the cluster key)',
}
const KMS: OptionSpec = { value: 'FILE', summary: 'instead of --key-file: JSON that names a key of a key server' }

/** Of a volume that is made. */
const MAKING: Record<string, OptionSpec> = {
  replicas: { value: 'N', summary: 'copies beside the primary, 0 to 5, at most nodes - 1 (default: 2 if it can)' },
  durability: { value: 'MODE', summary: 'durable (default): answered = on stable storage; writeback: on flush' },
  'block-size': { value: 'BYTES', summary: '4096 (default) or 512' },
  'on-full': { value: 'WHAT', summary: 'hold (default): writes wait for space; error: ENOSPC at once' },
  'io-timeout': { value: 'TIME', summary: 'how long I/O is held before it fails: 30s, 10m (default), 0 = never' },
  'failure-mode': {
    value: 'MODE', summary: 'cluster: copies that a write needs: hard (all), soft, alwayson (one), or 0 to 5 replicas',
  },
  pool: { value: 'POOL', summary: 'pool of disks to use (default: default)' },
  'disk-tags': { value: 'TAGS', summary: 'only disks with all these tags, e.g. ssd,nvme' },
  'qos-iops': { value: 'N', summary: 'requests a second that its clients may ask, 10 or more (default: no limit)' },
  'qos-bandwidth': { value: 'SIZE', summary: 'bytes a second that they may read and write, 1Mi or more' },
  'qos-burst': { value: 'TIME', summary: 'how long what they did not use is kept: 100ms to 60m (default 1s)' },
  'snapshot-schedule': {
    value: 'SCHEDULE', summary: 'cluster: snapshots by themselves, e.g. "every 1h keep-last 24 keep-daily 7"',
  },
  compression: { value: 'HOW', summary: 'cluster: none (default) or lz4, where it saves an eighth or more' },
  encryption: { summary: 'cluster: encrypted where it is used; copies, disks and network have no key' },
  cipher: { value: 'CIPHER', summary: 'of --encryption: aes-256-xts (default) or aes-256-gcm, which finds forgeries' },
  label: { value: 'K=V', many: true, summary: 'cluster: shown with it; up to 16' },
  param: { value: 'K=V', many: true, summary: 'any parameter of a StorageClass, with or without holdfast.io/' },
}

/** The same of a clone: what is not said is no default. */
const CLONING = Object.fromEntries(Object.entries(MAKING).map(([name, option]) =>
  [name, { ...option, summary: option.summary.replace(/ \(default[^)]*\)/, '') }]))

export const volumeCommands = (endpoint: Record<string, OptionSpec>): Command[] => [
  {
    words: 'volume create',
    summary: 'make a volume and export it over NBD',
    positionals: NAME,
    options: {
      size: { value: 'SIZE', summary: 'required; a multiple of 1 MiB, e.g. 10Gi' },
      'key-file': KEY_FILE,
      kms: KMS,
      'attach-mode': { value: 'MODE', summary: 'open (default): any node; single: nobody before `volume attach`' },
      ...MAKING,
      ...endpoint,
    },
    examples: [
      'holdfast volume create data-1 --size 10Gi',
      'holdfast volume create scratch --size 500Mi --durability writeback --on-full error',
      'holdfast volume create db-1 --size 10Gi --label app=db --label tier=gold',
      'holdfast volume create batch --size 10Gi --qos-iops 500 --qos-bandwidth 50Mi',
      'holdfast volume create db --size 1Ti --param holdfast.io/pool=fast -o json',
      'holdfast volume create safe --size 10Gi --encryption',
      'holdfast volume create safe --size 10Gi --encryption --key-file ./safe.key',
    ],
    load: async () => (await import('./volume.ts')).createVolume,
  },
  {
    words: 'volume clone',
    summary: 'cluster: make a volume that begins as a snapshot of another one, or as it is now; but for labels and '
      + 'snapshot schedule, what is not said is as it is for that one',
    positionals: [{ name: 'VOLUME[@SNAPSHOT]' }, { name: 'NAME' }],
    options: {
      size: { value: 'SIZE', summary: 'at least what that has (default: just that)' },
      'attach-mode': { value: 'MODE', summary: 'open: any node; single: nobody before `volume attach`' },
      ...CLONING,
      ...endpoint,
    },
    examples: [
      'holdfast volume clone data@before-upgrade trial',
      'holdfast volume clone data data-copy --size 20Gi --replicas 1',
    ],
    load: async () => (await import('./volume.ts')).cloneVolume,
  },
  {
    words: 'volume import',
    summary: 'make a volume of an image in a file, raw or qcow2',
    positionals: [{ name: 'FILE' }, { name: 'NAME' }],
    options: {
      size: { value: 'SIZE', summary: 'at least what the image has (default: just that)' },
      'key-file': KEY_FILE,
      kms: KMS,
      format: { value: 'FORMAT', summary: 'raw or qcow2 (default: as it looks); qcow2 by qemu-img' },
      ...MAKING,
      ...endpoint,
    },
    examples: [
      'holdfast volume import data-1.raw data-2',
      'holdfast volume import debian-12.qcow2 root-1 --size 20Gi --replicas 2',
    ],
    load: async () => (await import('./volume-import.ts')).importVolume,
  },
  {
    words: 'volume ls',
    summary: 'list volumes',
    positionals: [],
    options: { trash: { summary: 'cluster: those that were deleted and can be restored' }, ...endpoint },
    examples: ['holdfast volume ls', 'holdfast volume ls --trash', 'holdfast volume ls -o json'],
    load: async () => (await import('./volume.ts')).listVolumes,
  },
  {
    words: 'volume inspect',
    summary: 'show everything about a volume',
    positionals: NAME,
    options: endpoint,
    examples: ['holdfast volume inspect demo', 'holdfast volume inspect demo -o json | jq -r .nbd[0]'],
    load: async () => (await import('./volume.ts')).inspectVolume,
  },
  {
    words: 'volume resize',
    summary: 'grow a volume, or shrink it where nothing lives beyond',
    positionals: NAME,
    options: {
      size: { value: 'SIZE', summary: 'required; above the present one' },
      force: { summary: 'cluster: below the present one too; refused while data lives beyond it' },
      ...endpoint,
    },
    examples: ['holdfast volume resize demo --size 2Gi', 'holdfast volume resize demo --size 512Mi --force'],
    load: async () => (await import('./volume.ts')).resizeVolume,
  },
  {
    words: 'volume set',
    summary: 'change parameters of a volume, all that are named or none, also of one in use',
    positionals: [...NAME, { name: 'K=V', many: true }],
    options: endpoint,
    examples: [
      'holdfast volume set data-1 replicas=2 failure-mode=soft io-timeout=30m',
      'holdfast volume set data-1 on-full=error qos-iops=500 qos-bandwidth=none',
      'holdfast volume set data-1 durability=writeback',
    ],
    load: async () => (await import('./volume.ts')).setParameters,
  },
  {
    words: 'volume qos',
    summary: 'limit what the clients of a volume may ask, also of one in use',
    positionals: NAME,
    options: {
      iops: { value: 'N', summary: 'requests a second, 10 or more; none: no limit' },
      bandwidth: { value: 'SIZE', summary: 'bytes read and written a second, 1Mi or more; none: no limit' },
      burst: { value: 'TIME', summary: 'how long what they did not use is kept: 100ms to 60m' },
      ...endpoint,
    },
    examples: [
      'holdfast volume qos demo --iops 500 --bandwidth 50Mi --burst 10s',
      'holdfast volume qos demo --iops none --bandwidth none',
    ],
    load: async () => (await import('./volume.ts')).limitVolume,
  },
  {
    words: 'volume compression',
    summary: 'compress what is written to a volume from now on, also to one in use',
    positionals: [...NAME, { name: 'lz4|none' }],
    options: endpoint,
    examples: ['holdfast volume compression demo lz4'],
    load: async () => (await import('./volume.ts')).compressVolume,
  },
  {
    words: 'volume unlock',
    summary: 'give the key of an encrypted volume to the nodes of this host, in memory',
    positionals: NAME,
    options: {
      'key-file': { value: 'FILE', summary: 'the key it was made with, or rewrapped to' },
      kms: KMS,
      node: { value: 'NODE', summary: 'only this one (default: all that the endpoint names)' },
      ...endpoint,
    },
    examples: ['holdfast volume unlock safe --key-file ./safe.key'],
    load: async () => (await import('./volume-keys.ts')).unlockVolume,
  },
  {
    words: 'volume lock',
    summary: 'take the key of an encrypted volume from the nodes of this host',
    positionals: NAME,
    options: { node: { value: 'NODE', summary: 'only this one (default: all that the endpoint names)' }, ...endpoint },
    examples: ['holdfast volume lock safe'],
    load: async () => (await import('./volume-keys.ts')).lockVolume,
  },
  {
    words: 'volume rewrap',
    summary: 'encrypt the data key of a volume with another key, also of one in use',
    positionals: NAME,
    options: {
      'key-file': { value: 'FILE', summary: 'the key it has' },
      kms: KMS,
      'new-key-file': { value: 'FILE', summary: 'the key it gets' },
      'new-kms': { value: 'FILE', summary: 'instead of --new-key-file: JSON that names a key of a key server' },
      ...endpoint,
    },
    examples: [
      'holdfast volume rewrap safe --key-file ./safe.key --new-key-file ./safe-2.key',
      'holdfast volume rewrap safe --key-file ./safe.key --new-kms ./kms.json',
    ],
    load: async () => (await import('./volume-keys.ts')).rewrapVolume,
  },
  {
    words: 'volume rekey',
    summary: 'another data key: new blocks are written under it, old ones anew, also of a volume in use',
    positionals: NAME,
    options: {
      'key-file': { value: 'FILE', summary: 'the key it has, which wraps the new data key too' },
      kms: KMS,
      resume: { summary: 'no further data key: wait for what was begun' },
      ...endpoint,
    },
    examples: ['holdfast volume rekey safe --key-file ./safe.key', 'holdfast volume rekey safe --resume'],
    load: async () => (await import('./volume-keys.ts')).rekeyVolume,
  },
  {
    words: 'volume keys',
    summary: 'show under which key a volume is encrypted, and where wrapped copies of its data key are',
    positionals: NAME,
    options: endpoint,
    examples: ['holdfast volume keys safe', 'holdfast volume keys safe -o json'],
    load: async () => (await import('./volume-keys.ts')).showKeys,
  },
  {
    words: 'volume delete',
    summary: 'delete volumes and give their space back',
    positionals: [{ name: 'NAME', many: true }],
    options: {
      force: { summary: 'end the NBD sessions that use it' },
      purge: { summary: 'at once; in a cluster it stays in the trash for an hour otherwise' },
      keep: { value: 'DURATION', summary: 'new: for how long the trash of a cluster keeps it, 0 to 720h (default 1h)' },
      ...endpoint,
    },
    examples: [
      'holdfast volume delete scratch',
      'holdfast volume delete data-1 data-2 --force',
      'holdfast volume delete data-1 --keep 24h',
    ],
    load: async () => (await import('./volume.ts')).deleteVolumes,
  },
  {
    words: 'volume restore',
    summary: 'cluster: bring a volume back out of the trash, by name or id',
    positionals: NAME,
    options: endpoint,
    examples: ['holdfast volume restore data-1'],
    load: async () => (await import('./volume-wishes.ts')).restoreVolume,
  },
  {
    words: 'volume purge',
    summary: 'cluster: erase volumes in the trash now, by name or id',
    positionals: [{ name: 'NAME', many: true }],
    options: endpoint,
    examples: ['holdfast volume purge data-1'],
    load: async () => (await import('./volume-wishes.ts')).purgeVolumes,
  },
  {
    words: 'volume replicas',
    summary: 'cluster: keep another number of copies',
    positionals: [{ name: 'NAME' }, { name: 'N' }],
    options: endpoint,
    examples: ['holdfast volume replicas data-1 2'],
    load: async () => (await import('./volume-wishes.ts')).setReplicas,
  },
  {
    words: 'volume move',
    summary: 'cluster: move a copy to a node',
    positionals: NAME,
    options: {
      to: { value: 'NODE', summary: 'required; where it goes' },
      from: { value: 'NODE', summary: 'whose copy goes away for it (default: whoever can be spared)' },
      ...endpoint,
    },
    examples: ['holdfast volume move data-1 --to n4', 'holdfast volume move data-1 --to n4 --from n1'],
    load: async () => (await import('./volume-wishes.ts')).moveVolume,
  },
  {
    words: 'volume attach',
    summary: 'cluster: let the clients of one node use a volume, and nobody else',
    positionals: NAME,
    options: {
      to: { value: 'NODE', summary: 'required; it need not have a copy' },
      mode: { value: 'MODE', summary: 'single (default): this node only; shared: others too; read-only: others too' },
      force: { summary: 'also when others lose it: what they write from then on fails' },
      ...endpoint,
    },
    examples: ['holdfast volume attach data-1 --to n2', 'holdfast volume attach data-1 --to n3 --mode read-only'],
    load: async () => (await import('./volume-wishes.ts')).attachVolume,
  },
  {
    words: 'volume detach',
    summary: 'cluster: end what `volume attach` began; what its clients ask from then on fails',
    positionals: NAME,
    options: {
      from: { value: 'NODE', summary: 'which node (default: the only one that holds it)' },
      all: { summary: 'all nodes that hold it, if any' },
      ...endpoint,
    },
    examples: ['holdfast volume detach data-1', 'holdfast volume detach data-1 --from n2'],
    load: async () => (await import('./volume-wishes.ts')).detachVolume,
  },
  {
    words: 'volume scrub',
    summary: 'cluster: look at every copy now; what is damaged is repaired from the others',
    positionals: NAME,
    options: {
      deep: { summary: 'read and verify every block (default: compare the map with the segments)' },
      ...endpoint,
    },
    examples: ['holdfast volume scrub data-1', 'holdfast volume scrub data-1 --deep'],
    load: async () => (await import('./volume-wishes.ts')).scrubVolume,
  },
  {
    words: 'volume hydrate',
    summary: 'cluster: give a clone blocks of its own for all that it shares with its origin',
    positionals: NAME,
    options: endpoint,
    examples: ['holdfast volume hydrate trial'],
    load: async () => (await import('./volume-wishes.ts')).hydrateVolume,
  },
  {
    words: 'volume promote',
    summary: 'cluster: let the copy on a node lead, without a pause that clients would notice as an error',
    positionals: NAME,
    options: {
      to: { value: 'NODE', summary: 'required; it has a copy in sync' },
      force: { summary: 'the last resort, when nothing else leads: with what it has; says first what that costs' },
      confirm: { value: 'TOKEN', summary: 'with --force: what its refusal asked for' },
      ...endpoint,
    },
    examples: ['holdfast volume promote data-1 --to n2', 'holdfast volume promote data-1 --to n2 --force'],
    load: async () => (await import('./volume-wishes.ts')).promoteVolume,
  },
]
