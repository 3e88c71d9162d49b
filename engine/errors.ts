/**
 * The one table of what the world can do wrong. A failure is a value `{ code, detail }`; the table turns it into a
 * sentence for a person, an NBD errno and a gRPC status. Compare codes, never messages. NBD allows exactly these
 * error values (NBD doc/proto.md "Error values").
 */
export const NBD_ERRNO = {
  NONE: 0,
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  ENOSPC: 28,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
} as const

/** Canonical gRPC status numbers, by name, so that the engine does not import a transport. */
export const GRPC_STATUS = {
  INVALID_ARGUMENT: 3,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const

interface ErrorRow {
  errno: number
  grpc: number
  retryable: boolean
  /** What happened, to what, why. `{name}` is filled from the detail. */
  sentence: string
  /** What to do next. */
  next: string
}

const row = (errno: number, grpc: number, retryable: boolean, sentence: string, next: string): ErrorRow => ({
  errno,
  grpc,
  retryable,
  sentence,
  next,
})

const { EPERM, EIO, EINVAL, ENOSPC, ESHUTDOWN, ENOTSUP } = NBD_ERRNO
const G = GRPC_STATUS

export const ERRORS = {
  'volume-not-found': row(EINVAL, G.NOT_FOUND, false, 'there is no volume {name}', '`holdfast volume ls` shows what there is'),
  'volume-not-ready': row(EIO, G.UNAVAILABLE, true, 'volume {name} cannot be served yet: {reason}', 'it is tried again by itself; `holdfast volume inspect {name}` says what it waits for'),
  'volume-exists': row(EINVAL, G.ALREADY_EXISTS, false, 'volume {name} exists already: {existing}', 'choose another name, or use the one that is there'),
  'volume-name': row(EINVAL, G.INVALID_ARGUMENT, false, 'volume name {name} is not allowed', 'use 1 to 63 characters of a-z, 0-9 and -, e.g. `data-1`, but not 32 hex digits, which would be an id'),
  'volume-size': row(EINVAL, G.INVALID_ARGUMENT, false, 'size {size} is not allowed', 'give a positive multiple of 1 MiB, at most 64 TiB, e.g. `--size 10Gi`'),
  'volume-shrink': row(EINVAL, G.OUT_OF_RANGE, false, 'volume {name} has {current} bytes; {size} would shrink it, which would cut off data', 'give a size above the present one, or add --force: it shrinks where nothing lives beyond'),
  'volume-occupied': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {volume} does not shrink: {reason}', 'make what lies on it smaller first (`resize2fs`, `lvreduce`), discard what is beyond (`blkdiscard -o NEW-SIZE-IN-BYTES DEVICE`), and try again'),
  'node-too-old': row(EINVAL, G.FAILED_PRECONDITION, true, '{what} of volume {name} waits for newer nodes: {nodes} would not understand it', 'run this version there too, one node after the other, and try again'),
  'rollback-size': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {volume} has {current}, and snapshot {snapshot} {size}: what that shows beyond the end would be lost', 'grow it first: `holdfast volume resize {volume} --size {size}`'),
  'volume-range': row(EINVAL, G.OUT_OF_RANGE, false, 'volume {volume} ends before byte {end}', 'ask within its size'),
  'volume-read-only': row(EPERM, G.FAILED_PRECONDITION, false, 'volume {volume} is attached for reading only', 'attach it for writing'),
  'copy-not-found': row(EINVAL, G.NOT_FOUND, false, 'node {node} has no copy of volume {volume}', '`holdfast explain {volume}` shows where its copies are'),
  'copy-refused': row(EINVAL, G.FAILED_PRECONDITION, true, 'the copy of volume {volume} on node {node} did not do it: {reason}', '`holdfast volume inspect {volume}` shows who leads and what it waits for'),
  'io-timeout': row(EIO, G.UNAVAILABLE, true, 'volume {volume} answered nothing for {seconds} s', '`holdfast volume inspect {volume}` says what it waits for; a longer `--io-timeout` holds requests longer'),
  'session-stale': row(EIO, G.FAILED_PRECONDITION, false, 'volume {volume} is attached elsewhere, or anew', 'attach it again where it is to be used'),
  'session-broken': row(EIO, G.DATA_LOSS, false, 'volume {volume} may lack writes that were answered: all its copies lost power before a flush, or an older copy was made to lead', 'check what uses it, and attach it again'),
  'sessions-too-many': row(EIO, G.RESOURCE_EXHAUSTED, true, 'volume {volume} is in use by as many nodes as there is room for: those that ever connected count while nobody holds it', '`holdfast attach {volume}` on one node and `holdfast detach {volume}` there make room; whoever is connected gets errors then'),
  'snapshot-not-found': row(EINVAL, G.NOT_FOUND, false, 'volume {volume} has no snapshot {snapshot}', '`holdfast snapshot ls {volume}` shows what there is'),
  'snapshot-exists': row(EINVAL, G.ALREADY_EXISTS, false, 'volume {volume} has a snapshot {snapshot} already{difference}, made {made} (id {id})', 'choose another name, or use the one that is there'),
  'snapshot-in-use': row(EINVAL, G.FAILED_PRECONDITION, true, 'snapshot {snapshot} of volume {volume} is in use and is not deleted: {reason}', 'end its readers first; one that is gone without a word counts for {seconds} s'),
  'snapshot-left': row(EIO, G.UNAVAILABLE, true, 'snapshot {snapshot} of volume {volume}, which {what} made for itself, may be left: {reason}', '`holdfast snapshot delete {volume} {snapshot}` deletes it'),
  'snapshot-unread': row(EIO, G.UNAVAILABLE, true, 'the snapshot cannot be read to its end: {reason}', '`holdfast snapshot ls VOLUME` shows what there is; begin again'),
  'snapshot-name': row(EINVAL, G.INVALID_ARGUMENT, false, 'snapshot name {snapshot} is not allowed', 'use 1 to 63 characters of a-z, 0-9 and -, e.g. `before-upgrade`, but not 32 hex digits, which would be an id'),
  'snapshot-limit': row(ENOSPC, G.RESOURCE_EXHAUSTED, false, 'volume {volume} has {count} snapshots, and their descriptions have no room for another one', 'delete some: `holdfast snapshot prune {volume} --keep-last N`, or `holdfast snapshot delete {volume} NAME`'),
  'snapshot-in-group': row(EINVAL, G.FAILED_PRECONDITION, false, 'snapshot {snapshot} of volume {volume} belongs to group snapshot {group}', '`holdfast snapshot delete --group {group}` deletes all of it'),
  'group-not-found': row(EINVAL, G.NOT_FOUND, false, 'there is no group snapshot {group}', '`holdfast snapshot ls --groups` shows what there is'),
  'group-exists': row(EINVAL, G.ALREADY_EXISTS, false, 'there is a group snapshot {group} already: {reason}', 'choose another name'),
  'group-not-made': row(EIO, G.UNAVAILABLE, true, 'group snapshot {group} was not made: volume {volume} did not do its part: {reason}', 'nothing is kept of it; `holdfast explain {volume}` shows what that volume waits for; try again then'),
  'group-undoing': row(EIO, G.UNAVAILABLE, true, 'group snapshot {group} is deleted, but what it kept of volume {volume} is there yet: {reason}', 'it goes by itself as soon as that volume is served'),
  'volume-unled': row(EIO, G.UNAVAILABLE, true, 'volume {name} has no primary that would do it: {reason}; nothing was changed', '`holdfast explain {name}` shows what it waits for; try again when it is served'),
  'change-outcome': row(EIO, G.UNAVAILABLE, true, 'whether {what} of volume {volume} was done is not known: {reason}', '`holdfast volume inspect {volume}` and `holdfast snapshot ls {volume}` show what there is; repeat it if need be'),
  'rollback-in-use': row(EINVAL, G.FAILED_PRECONDITION, true, 'volume {volume} is not rolled back: {reason}', 'end its use first, or add --force: what its users write from then on fails'),
  'change-superseded': row(EIO, G.FAILED_PRECONDITION, true, 'the primary of volume {volume} on node {node} was asked for a change that it does not make any more: {reason}', 'it is judged anew by itself'),
  'volume-in-use': row(EINVAL, G.FAILED_PRECONDITION, true, 'volume {name} is in use by {sessions} NBD connection(s)', 'disconnect its users first, or add --force to end their sessions'),
  'volume-attached': row(EINVAL, G.FAILED_PRECONDITION, true, 'volume {name} is attached to {holders} in mode {mode}', '`holdfast volume detach {name}` first, or add --force: what is written there from then on fails'),
  'attachment-overtaken': row(EINVAL, G.UNAVAILABLE, true, 'volume {name} is not attached to {node}: its attachments have changed since generation {read} was read, it is {generation} now', 'look again: `holdfast volume inspect {name}`; nothing was changed'),
  'volume-not-local': row(EINVAL, G.FAILED_PRECONDITION, true, 'volume {name} has data-locality strict, and no copy on {node}: its copies are on {copies}', 'use it there; or `holdfast volume move {name} --to {node}` first; or let it be used over the network: `holdfast volume set {name} data-locality=best-effort`'),
  'volume-not-attached': row(EINVAL, G.NOT_FOUND, false, 'volume {name} is not attached to {node}', '`holdfast volume inspect {name}` shows which nodes hold it'),
  'detach-unproved': row(EIO, G.UNAVAILABLE, true, 'volume {name} is detached, but it is not certain yet that what comes late from there is refused: {reason}', 'ask again: it is looked at each time; `holdfast explain {name}` shows what the volume waits for. One that is never served again: `holdfast volume promote {name} --to NODE --force` serves what is left, `holdfast volume delete {name} --force` gives it up'),
  'parameter': row(EINVAL, G.INVALID_ARGUMENT, false, '{parameter} = {value} is not allowed', 'allowed: {allowed}'),
  'too-few-nodes': row(EINVAL, G.FAILED_PRECONDITION, false, 'replicas {replicas} needs {needed} nodes, and this cluster has {nodes}', 'ask for fewer replicas (`--replicas {most}`), or add nodes'),
  'copy-exists': row(EIO, G.FAILED_PRECONDITION, true, 'copy {copy} of volume {volume} is not made here: {reason}', 'a new copy has a name of its own; what is being made or removed takes a moment'),
  'clone-source': row(EIO, G.FAILED_PRECONDITION, true, 'copy {copy} of volume {volume} is not made here from its origin: {reason}', 'the control plane asks again, here or elsewhere; `holdfast explain {volume}` shows what it waits for'),
  'clone-smaller': row(EINVAL, G.INVALID_ARGUMENT, false, 'volume {name} cannot be a clone of {source} with {size}: it has at least {least}', 'ask for that much or more, or leave --size out'),
  'cipher-unavailable': row(EIO, G.FAILED_PRECONDITION, false, 'nothing can be encrypted or decrypted here: {reason}', 'use the Node 24 that comes with Holdfast (`bin/node24`), whose OpenSSL can be called'),
  'key-file': row(EINVAL, G.INVALID_ARGUMENT, false, '{file} is no key file: {reason}', 'a key is 32 random bytes, raw, as hex or as base64: `openssl rand -hex 32 > FILE && chmod 600 FILE`, and keep a copy: without it the data is lost'),
  'key-missing': row(EIO, G.FAILED_PRECONDITION, true, 'volume {volume} is encrypted under key {wanted}, which node {node} does not have', '`holdfast volume unlock {volume} --key-file FILE` (or `--kms FILE`) on that host gives it to the node; a cluster key is named when the node starts (`--cluster-key FILE`)'),
  'key-wrong': row(EINVAL, G.INVALID_ARGUMENT, false, 'volume {volume} is encrypted under key {wanted}, and this is key {found}; nothing was changed', 'name the file with the other key'),
  'key-refused': row(EIO, G.DATA_LOSS, false, 'the wrapped key of volume {volume} does not open with key {wanted}: it was changed, taken away, or put there from another volume', 'a backup of the cluster store, or the note of a copy, may have it as it was'),
  'key-folder': row(EIO, G.FAILED_PRECONDITION, false, 'the key folder {dir} cannot be used: {reason}', 'see who made it, remove it, and unlock the volume again'),
  'key-unnamed': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {name} is to be encrypted, and there is no key for it: none is named, and the node that decides has no cluster key', 'name one: `--key-file FILE`; or start every node with `--cluster-key FILE`'),
  'key-changed': row(EINVAL, G.FAILED_PRECONDITION, true, 'the wrapped key of volume {volume} was changed meanwhile; nothing was changed by this', 'look which key it wants now: `holdfast volume keys {volume}`'),
  'kms-config': row(EINVAL, G.INVALID_ARGUMENT, false, '{file} does not say how to reach a key server: {reason}', 'see docs/operations.md, "Keys of a key server"'),
  'kms-unreachable': row(EIO, G.UNAVAILABLE, true, 'the key server at {address} did not answer, asked {tries} times: {reason}; nothing was changed', 'volumes that are open go on, and nodes that were given a key open them again; ask once more when it is back'),
  'kms-refused': row(EIO, G.FAILED_PRECONDITION, false, 'the key server at {address} did not do it with key {key}: {reason}; nothing was changed', 'see whether it is unsealed, whether the key is there, and whether the token may encrypt and decrypt with it'),
  'rekey-waits': row(EIO, G.UNAVAILABLE, true, 'volume {volume} gets another data key, and that waits: {why}', 'it goes on by itself when that is over; `holdfast volume rekey {volume} --resume` shows it'),
  'volume-plain': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {volume} is not encrypted', 'encryption is chosen when a volume is made: `holdfast volume create NAME --size SIZE --encryption`'),
  'pool-not-found': row(EINVAL, G.NOT_FOUND, false, 'no disk of this node is in pool {pool} with tags {tags}', '`holdfast disk ls` shows pools and tags'),
  'pool-full': row(ENOSPC, G.RESOURCE_EXHAUSTED, true, 'pool {pool} is full: {free} of {capacity} bytes are free and the reserve is {reserve}', 'delete or trim data, or add a disk with `holdfast disk add`; held writes go on by themselves'),
  'disk-failed': row(EIO, G.DATA_LOSS, false, 'disk {disk} failed: {reason}', 'replace it; its slices answer EIO, other disks go on'),
  'disk-busy': row(EIO, G.FAILED_PRECONDITION, true, 'disk {disk} is in use by process {pid}', 'stop that process, or name another path'),
  'disk-too-small': row(EIO, G.INVALID_ARGUMENT, false, 'disk {disk} has {size} bytes, the least is {least}', 'give a larger size (`size=4Gi`) or a larger device'),
  'disk-open': row(EIO, G.FAILED_PRECONDITION, false, 'disk {disk} cannot be opened: {reason}', 'check the path and its permissions'),
  'disk-foreign': row(EIO, G.FAILED_PRECONDITION, false, 'disk {disk} belongs to node {owner} (disk {uuid}), not to node {node}', 'if that node is gone for good: `holdfast disk adopt {disk}`'),
  'disk-of-node': row(EIO, G.FAILED_PRECONDITION, false, 'disk {disk} belongs to node {owner} of this cluster (disk {uuid}), not to node {node}', 'start {owner} with it, or give an empty disk: if {owner} is gone for good, its copies are filled elsewhere by themselves'),
  'disk-lost-cluster': row(EIO, G.FAILED_PRECONDITION, false, 'disk {disk} belongs to node {owner} of cluster {cluster}, not to node {node}, and the cluster store at {store} is empty', 'name the store of its cluster with `--store`, or give {node} an empty disk; if that store is lost for good: start {owner} with this disk, then `holdfast store rebuild --from-nodes`'),
  'disk-not-empty': row(EIO, G.FAILED_PRECONDITION, false, 'disk {disk} holds something that is not ours ({found})', 'empty it yourself (for a device: `wipefs -a {disk}`), or name another path'),
  'disk-not-found': row(EINVAL, G.NOT_FOUND, false, 'there is no disk {disk}', '`holdfast disk ls` shows the disks'),
  'disk-partly-taken': row(EIO, G.FAILED_PRECONDITION, false, 'disk {disk} is taken by {taken} of {workers} data workers only: {reason}', 'it is in use and belongs to the node; start the node again, which opens it for all of them'),
  'format-newer': row(EIO, G.FAILED_PRECONDITION, false, '{what} of {disk} has format version {version}, this Holdfast knows {known}; nothing was touched', 'start it with the newer Holdfast that wrote it'),
  'format-damaged': row(EIO, G.DATA_LOSS, false, '{what} of {disk} is damaged: {reason}', '`holdfast verify {disk}` says what is left, `holdfast salvage {disk}` reads it out'),
  'media-error': row(EIO, G.DATA_LOSS, false, 'volume {volume} block {lba} on disk {disk}: {reason}', '`holdfast verify` shows the extent of the damage'),
  'shutting-down': row(ESHUTDOWN, G.UNAVAILABLE, true, 'the daemon is stopping', 'try again when it is back'),
  'not-supported': row(ENOTSUP, G.UNIMPLEMENTED, false, '{what} is not supported', '{instead}'),
  'kernel-nbd': row(EIO, G.FAILED_PRECONDITION, false, 'no device can be made: {reason}', 'the way to get it here: {way}; clients in user space need none of it'),
  'attachment-absent': row(EIO, G.UNAVAILABLE, true, 'the attachment cannot be opened at {path}: {reason}', '`holdfast volume inspect` shows who holds the volume under which generation, `holdfast node ls` whether its node runs'),
  'device-wish': row(EINVAL, G.INVALID_ARGUMENT, false, 'no device is made of this wish: {what} {given}', 'a volume id is 32 hex digits of lower case, a generation a whole number, a mode single, shared or read-only, a size whole sectors of 512 bytes'),
  'device-generation': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {volume} was a device here under attach generation {generation}; {asked} is over', 'publish the volume to this node again'),
  'device-otherwise': row(EINVAL, G.ALREADY_EXISTS, false, 'volume {volume} is a device here already, {how}', 'let go of that one first'),
  'device-absent': row(EINVAL, G.NOT_FOUND, false, 'volume {volume} is no device of this host', '`holdfast attach` makes it one'),
  'device-busy': row(EIO, G.FAILED_PRECONDITION, true, '{path} is in use: {by}', 'unmount what lies on it, end who has it open (`fuser -vm {path}`), and ask again'),
  'device-refused': row(EIO, G.INTERNAL, true, '{what} was refused by the kernel: {reason}', '`dmesg` may say more; the keeper needs root, or CAP_SYS_ADMIN'),
  'keeper-state': row(EIO, G.INTERNAL, false, 'the table of devices at {path} cannot be used: {reason}', 'look at that place; nothing was changed there'),
  'keeper-stopping': row(EIO, G.UNAVAILABLE, true, 'the keeper of devices is stopping', 'ask again when it is back'),
  'keeper-running': row(EINVAL, G.FAILED_PRECONDITION, false, 'a keeper of devices runs already for {path} (pid {pid})', 'one is enough for a host'),
  'keeper-absent': row(EIO, G.UNAVAILABLE, true, 'the keeper of devices does not answer at {path}: {reason}', '`holdfast keeper` shows why in the foreground'),
  'socket-path': row(EINVAL, G.INVALID_ARGUMENT, false, 'socket path {path} has {length} bytes, the limit of a unix socket is 107', 'use a shorter folder (`--dir`)'),
  'socket-busy': row(EINVAL, G.FAILED_PRECONDITION, true, 'socket {path} is in use by a running process', 'stop that process, or use another folder (`--dir`)'),
  'socket-taken': row(EINVAL, G.FAILED_PRECONDITION, false, '{path} exists and is not a socket; it was not touched', 'move it away, or use another folder (`--dir`)'),
  'listen': row(EIO, G.FAILED_PRECONDITION, false, 'cannot listen on {endpoint}: {reason}', 'check the address and its permissions'),
  'port-busy': row(EINVAL, G.FAILED_PRECONDITION, true, 'port {port} is in use', 'stop its user, or choose another port'),
  'folder-in-use': row(EINVAL, G.FAILED_PRECONDITION, false, '{dir} is in use by process {pid}', 'stop that process (Ctrl-C where it runs), or give another folder with --dir'),
  'unreachable': row(EIO, G.UNAVAILABLE, true, 'no daemon answers at {endpoint} ({source}): {reason}', 'start one (`npm start`), or name it with --endpoint or HOLDFAST_ENDPOINT'),
  'cluster-waits': row(EIO, G.UNAVAILABLE, true, 'no daemon answers at {endpoint}: its nodes wait for their cluster, which is not in the store at {store}', 'name its own store with `--store`; if that one is lost for good: `holdfast store rebuild --from-nodes`'),
  'node-not-found': row(EINVAL, G.NOT_FOUND, false, 'there is no node {name}', '`holdfast node ls` shows the nodes'),
  'node-kept': row(EINVAL, G.FAILED_PRECONDITION, true, 'node {name} stays in the cluster: {reason}', 'a node goes when it is stopped and its copies are elsewhere: `holdfast node drain {name}`; `holdfast explain` shows what a volume waits for'),
  'node-down': row(EIO, G.UNAVAILABLE, true, 'node {name} is down: {reason}', 'its own words are where `holdfast dev` runs and in its daemon.log'),
  'node-name-taken': row(EINVAL, G.ALREADY_EXISTS, false, 'node name {name} belongs to another node of this cluster (id {owner}, this one is {id})', 'give this node another name (`--name`); if that one is gone for good: `holdfast node rm {name}`'),
  'node-twice': row(EINVAL, G.FAILED_PRECONDITION, false, 'node {name} runs somewhere else too (instance {rival}), with a copy of this folder', 'stop one of the two, and never start from a copied folder'),
  'cluster-other': row(EINVAL, G.FAILED_PRECONDITION, false, '{what} belongs to cluster {known}, the cluster store at {store} to {found}', 'name the store of its cluster with `--store`, or give an empty folder and empty disks'),
  'zone-unknown': row(EINVAL, G.FAILED_PRECONDITION, false, 'no other node is in zone {zone}: they {known}', 'start node {name} with the `--zone` that is meant, or add `--new-zone` if it is to be the first one there'),
  'node-name': row(EINVAL, G.INVALID_ARGUMENT, false, 'node name {name} is not allowed', 'use 1 to 63 characters of a-z, 0-9 and -, e.g. `n1`'),
  'folder': row(EIO, G.FAILED_PRECONDITION, false, 'folder {dir} cannot be used: {reason}', 'give another folder with --dir'),
  'folder-write': row(EIO, G.UNAVAILABLE, true, '{file} cannot be written: {reason}', 'free some space, or mend the file system it is on; it is tried again by itself'),
  'no-room': row(ENOSPC, G.RESOURCE_EXHAUSTED, false, 'file system of {dir} has {free} bytes free, {needed} are needed', 'free some space, or ask for less (`--size 2Gi`)'),
  'kube-access': row(EINVAL, G.FAILED_PRECONDITION, false, '{what} does not say how to reach a Kubernetes API: {reason}', 'in a pod its service account does; elsewhere name a kubeconfig with a certificate or a token'),
  'kube-unreachable': row(EIO, G.UNAVAILABLE, true, 'the Kubernetes API at {server} did not do it: {reason}', 'volumes go on without it; it is tried again by itself'),
  'certificate-refused': row(EINVAL, G.FAILED_PRECONDITION, true, 'node {node} got no certificate for its request {request}: {reason}', '`kubectl describe csr {request}` shows it; the log of `holdfast ca sign` says more'),
  'kube-refused': row(EIO, G.FAILED_PRECONDITION, false, 'the Kubernetes API at {server} refused: {reason}', 'see to the rights of the service account (the chart has them), and try again'),
  'uninstall-refused': row(EINVAL, G.FAILED_PRECONDITION, true, 'Holdfast is not uninstalled while there are volumes or snapshots of it: {found}', 'delete their claims and VolumeSnapshots first (with reclaim policy Retain the PersistentVolumes too), or go on with it: `helm rollback RELEASE REVISION`, the last one of `helm history`, since helm has noted the release as uninstalling'),
  'ca-lost': row(EIO, G.FAILED_PRECONDITION, false, '{what} is gone, and cluster {cluster} was set up with it; nothing was made', 'put it back from a backup; {instead}'),
  'store-unreachable': row(EIO, G.UNAVAILABLE, true, 'no cluster store answers at {endpoints}: {reason}', 'start it, or check `--store`; volumes go on without it as long as nothing else fails'),
  'store-replaced': row(EIO, G.FAILED_PRECONDITION, false, 'the cluster store at {endpoint} is another one: its id is {found}, the known one is {known}', 'name the right one with `--store`; if that one is lost for good: an empty one in its place and `holdfast store rebuild --from-nodes`'),
  'store-behind': row(EIO, G.FAILED_PRECONDITION, false, 'the cluster store at {endpoint} went back in time: it is at revision {found}, {known} was there before', 'bring its newest data back instead of an old backup; if they are lost for good: an empty store in its place and `holdfast store rebuild --from-nodes`'),
  'starts-behind': row(EIO, G.FAILED_PRECONDITION, false, 'the cluster store at {endpoint} went back in time: it counts {found} starts of nodes, and the last one of this node was number {known}', 'bring its newest data back instead of an old backup; if they are lost for good: an empty store in its place and `holdfast store rebuild --from-nodes`'),
  'store-former': row(EIO, G.FAILED_PRECONDITION, false, 'the cluster store at {endpoint} is the one from before it was rebuilt (era {found}, this node knows era {known})', 'name the rebuilt one with `--store`, and switch this one off'),
  'store-in-use': row(EINVAL, G.FAILED_PRECONDITION, false, 'the cluster store at {endpoint} is not empty: {found}', '`holdfast store rebuild` takes an empty one: give a new folder, or clear it'),
  'rebuild-refused': row(EINVAL, G.FAILED_PRECONDITION, false, 'the cluster store is not rebuilt, nothing was written: {problems}', '{instead}'),
  'rebuild-unconfirmed': row(EINVAL, G.FAILED_PRECONDITION, false, 'the cluster store is not rebuilt before this is confirmed: {costs}', 'if that is what you want: `holdfast store rebuild --from-nodes --store {endpoint} --force --confirm {token}`'),
  'store-refused': row(EIO, G.FAILED_PRECONDITION, true, 'the cluster store at {endpoint} refused: {reason}', 'mend that at the store; nothing was changed'),
  'store-history': row(EIO, G.OUT_OF_RANGE, true, 'the cluster store does not keep any more what it had at {position}', 'list again'),
  'store-value-size': row(EINVAL, G.INVALID_ARGUMENT, false, 'the value of {key} has {size} bytes, the cluster store takes {most}', 'make it smaller'),
  'store-address': row(EINVAL, G.INVALID_ARGUMENT, false, '{address} is no address of a cluster store', 'give http://HOST:PORT or https://HOST:PORT, several with commas between them, or kube: (in a pod; kube:///PATH with a kubeconfig) for the Kubernetes API'),
  'store-needs-tls': row(EINVAL, G.INVALID_ARGUMENT, false, '{address} is an address of TLS, and there is no certificate', 'name the folder with --tls DIR (`holdfast ca issue` makes one)'),
  'store-listen': row(EINVAL, G.INVALID_ARGUMENT, false, '{address} is no address to listen on', 'give HOST:PORT, e.g. 127.0.0.1:2379'),
  'store-damaged': row(EIO, G.DATA_LOSS, false, 'the cluster store in {dir} is damaged: {reason}; nothing was served or changed', 'put back a copy of the folder that was made while it was stopped; if there is none: an empty folder and `holdfast store rebuild --from-nodes`'),
  'store-foreign': row(EIO, G.FAILED_PRECONDITION, false, '{dir} holds something that is not a cluster store ({found}); it was not touched', 'give an empty folder with --dir'),
  'store-disk': row(EIO, G.DATA_LOSS, false, 'the cluster store in {dir} could not write: {reason}', 'see to the disk and its free space, and start it again; what was answered is there'),
  'store-contended': row(EIO, G.UNAVAILABLE, true, '{what} was changed by somebody else again and again', 'try again'),
  'store-record': row(EIO, G.DATA_LOSS, false, 'the cluster store has something under {key} that this Holdfast cannot read; nothing was changed', 'a newer Holdfast or a person wrote it: use the newer one, or put a copy of it back'),
  'store-outcome': row(EIO, G.UNAVAILABLE, true, 'whether {what} was stored is not known: {reason}', 'look what is there, and repeat it if need be'),
  'no-controller': row(EIO, G.UNAVAILABLE, true, 'no node decides for the cluster just now: {reason}', 'one is elected within seconds once the cluster store answers; volumes go on meanwhile'),
  'promotion-unconfirmed': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {name} is not led by {to} by force before that is confirmed: {costs}', 'if that is what you want: `holdfast volume promote {name} --to {to} --force --confirm {token}`'),
  'promotion-refused': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {name} is not led by {to} by force: {reason}', '`holdfast explain {name}` shows what each copy has and waits for'),
  'order-refused': row(EIO, G.FAILED_PRECONDITION, true, 'node {node} did not {order} volume {volume}: {reason}', 'nothing was changed; what is needed is planned anew by itself'),
  'volume-waits': row(EIO, G.UNAVAILABLE, true, 'volume {name} is made, and not served yet: {reason}', '`holdfast volume inspect {name}` shows how it goes on; it does by itself'),
  'volume-unplaced': row(ENOSPC, G.RESOURCE_EXHAUSTED, false, 'volume {name} of {size} in {copies} would have no place, and is not made: {reason}', '{instead}'),
  'volume-kept': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {name} is not in the trash', '`holdfast volume delete {name}` puts it there'),
  'volume-purged': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {name} is being purged; there is no way back', 'restore a backup of it'),
  'demo-ended': row(EIO, G.UNAVAILABLE, false, 'the demo ended before its end: {reason}', '`holdfast status` says how the cluster is'),
  'worker-silent': row(EIO, G.UNAVAILABLE, true, 'data worker {worker} of node {node} has not answered for {seconds} s', 'daemon.log says what it met; if it lasts, kill the daemon: its supervisor starts another one'),
  'internal': row(EIO, G.INTERNAL, false, 'the daemon at {endpoint} hit a bug of its own', 'daemon.log in its folder says which; please report it'),
  'image-read': row(EIO, G.FAILED_PRECONDITION, false, '{path} cannot be read: {reason}', 'check the path and its permissions'),
  'image-parts': row(EINVAL, G.FAILED_PRECONDITION, false, '{path} is no image by itself: {reason}', 'where you know that file, make one image of both: `qemu-img convert -O qcow2`'),
  'file-exists': row(EINVAL, G.ALREADY_EXISTS, false, '{path} exists already, and was not touched', 'name another file, or move it away'),
  'tool-missing': row(EINVAL, G.FAILED_PRECONDITION, false, '{tool} is not installed, and {what} needs it', '`apt-get install {package}`, or {instead}'),
  'copy-ended': row(EIO, G.UNAVAILABLE, true, '{what} ended before its end: {reason}', 'nothing is left of it; begin again'),
  'image-write': row(EIO, G.FAILED_PRECONDITION, false, '{path} cannot be written: {reason}', 'name another place with enough room'),
  'host-command': row(EIO, G.INTERNAL, true, '{program} was to {what}, and {outcome}', 'see to what it says on that host; the step is repeated as a whole'),
  'device-unread': row(EIO, G.INTERNAL, true, 'device {device} cannot be read: {reason}', '`holdfast volume ls` says how its volume is; it is tried again'),
  'device-content': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {volume} is not used as {wanted}: {device} holds {found}; nothing was touched', 'name the file system that it holds (`csi.storage.k8s.io/fstype`), use it as a block device, or empty it yourself (`wipefs -a`, `blkdiscard`)'),
  'content-unknown': row(EIO, G.UNAVAILABLE, true, 'no file system is made on volume {volume}: its device looks blank, and whether anything was written to it is not known', 'whoever leads it tells that within seconds (`holds` in `holdfast volume inspect {volume} -o json`), but not to an elected node of a former version; a volume of 16 GiB at most is read through instead, within a minute; it is tried again'),
  'device-kept': row(EINVAL, G.FAILED_PRECONDITION, true, 'device {device} of volume {volume} keeps its {present} while it is in use', 'a device of `--device fuse` shows a new size when the volume is staged anew: end the pods that use it'),
  'attachment-missing': row(EIO, G.UNAVAILABLE, true, 'the data process of node {node} does not serve volume {volume} under attach generation {generation} within {seconds} s', '`holdfast volume inspect {volume}` shows who holds it, `holdfast status` how that node is; it is tried again'),
  'file-system-damaged': row(EIO, G.FAILED_PRECONDITION, false, 'the {fsType} of volume {volume} is damaged, and not mounted: {reason}', 'take a snapshot, then mend it on that host: `e2fsck -f {device}` for ext4, `xfs_repair {device}` for xfs'),
  'node-attachments': row(EINVAL, G.RESOURCE_EXHAUSTED, true, 'node {node} holds {held} volumes, and gets no more', 'use it on another node, or raise `--volumes-max` of `holdfast csi controller` and `holdfast csi node`'),
  'mount-path': row(EINVAL, G.INVALID_ARGUMENT, false, 'path {path} is not used: {reason}', 'kubelet gives paths in its own folder; if that is another one, start `holdfast csi node` with `--kubelet-dir`'),
  'mount-options': row(EINVAL, G.INVALID_ARGUMENT, false, 'mount option {option} is not allowed', 'leave it out of mountOptions'),
  'mount-differs': row(EINVAL, G.ALREADY_EXISTS, false, 'volume {volume} is at {path} already, {present}, and {wanted} was asked for', 'end that use first'),
  'mount-foreign': row(EINVAL, G.FAILED_PRECONDITION, false, '{path} shows {found}, which is no mount of volume {volume}; it was not touched', 'see who mounted it, and unmount it'),
  'mount-shared': row(EINVAL, G.FAILED_PRECONDITION, false, 'volume {volume} is attached shared, and its file system is not mounted: ext4 and xfs on two nodes destroy each other\'s data', 'attach it in mode single, or use the device itself, by software that agrees on who writes'),
  'volume-published': row(EINVAL, G.FAILED_PRECONDITION, true, 'volume {volume} is published at {path} for one pod alone (ReadWriteOncePod)', 'end that pod, or use ReadWriteOnce'),
  'volume-unstaged': row(EINVAL, G.FAILED_PRECONDITION, true, 'volume {volume} is not staged at {path}', 'kubelet stages a volume before it publishes it, and does so again by itself'),
  'generation-past': row(EINVAL, G.FAILED_PRECONDITION, true, 'volume {volume} is not staged under attach generation {asked}: {reason}', 'it was attached elsewhere, or anew, since; the attachment of now has another one'),
  'tls-files': row(EIO, G.FAILED_PRECONDITION, false, '{file} cannot be used for TLS: {reason}', '`holdfast ca issue` makes a folder of ca.crt, tls.crt and tls.key; docs/tls.md says how they are replaced'),
  'plain-text': row(EINVAL, G.INVALID_ARGUMENT, false, '{where} is open to other hosts, and there is no TLS', 'add --tls DIR (`holdfast ca issue` makes one), or keep it on loopback, e.g. 127.0.0.1:PORT'),
  'tls-cluster': row(EINVAL, G.FAILED_PRECONDITION, false, 'the certificate in {dir} is for {found}, this is {known}', 'give the folder that `holdfast ca issue` made for it'),
  'tls-denied': row(EINVAL, G.PERMISSION_DENIED, false, '{who} may not do {rpc}: {reason}', 'use a certificate of one of these roles: {roles}'),
  'node-removed': row(EINVAL, G.PERMISSION_DENIED, false, '{reason}', 'who takes its name gets a certificate made since: `holdfast ca issue --node {name} --from-now`'),
  'node-unchecked': row(EIO, G.UNAVAILABLE, true, 'node {name} is not let in now: {reason}', 'it tries again by itself, and is let in when the cluster store answers'),
  'token-refused': row(EINVAL, G.UNAUTHENTICATED, false, 'the bearer token is not taken: {reason}', 'an admin makes another one: `holdfast token create NAME --role ROLE`'),
  'token-unchecked': row(EIO, G.UNAVAILABLE, true, 'no bearer token is taken now: {reason}', 'come with a certificate, or try again when the cluster store answers'),
  'token-exists': row(EINVAL, G.ALREADY_EXISTS, false, 'there is a token {name} already', 'choose another name, or revoke it: `holdfast token revoke {name}`'),
  'token-not-found': row(EINVAL, G.NOT_FOUND, false, 'there is no token {name}', '`holdfast token ls` shows what there is'),
  'token-limit': row(EINVAL, G.RESOURCE_EXHAUSTED, false, 'a cluster has at most {most} tokens', 'revoke those that nobody needs, expired ones too: `holdfast token ls`'),
  'caller-busy': row(EIO, G.RESOURCE_EXHAUSTED, true, '{name} has too much under way at this node: {what}', 'wait until it is answered, and take the answers'),
  'token-file': row(EINVAL, G.INVALID_ARGUMENT, false, 'there is no bearer token in {file}: {reason}', 'give the file that `holdfast token create` wrote'),
  'usage': row(EINVAL, G.INVALID_ARGUMENT, false, '{problem}', '{hint}'),
  'checksum-slow': row(EIO, G.FAILED_PRECONDITION, false, 'no native crc32c is installed: {reason}', 'run `npm ci` again with install scripts allowed and a C++ compiler, or on a platform for which @node-rs/crc32 is prebuilt'),
  'platform': row(EINVAL, G.FAILED_PRECONDITION, false, 'Holdfast runs on Linux only; this is {platform}', 'use a Linux machine or a virtual one'),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS
export type Detail = Record<string, string | number>

/** An operating error on its way to a person or a client. A value first; thrown only in shells that have promises. */
export class HoldfastError extends Error {
  override name = 'HoldfastError'
  readonly code: ErrorCode
  readonly detail: Detail
  constructor(code: ErrorCode, detail: Detail, options?: { cause?: unknown }) {
    super(sentence(code, detail), options)
    this.code = code
    this.detail = detail
  }
}

/** What happened and what to do next, in one line. */
export function sentence(code: ErrorCode, detail: Detail): string {
  const { sentence, next } = ERRORS[code]
  const fill = (text: string) => text.replace(/\{(\w+)\}/g, (whole, key: string) => String(detail[key] ?? whole))
  return `${fill(sentence)}; ${fill(next)}`
}
