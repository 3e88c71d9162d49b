/** `holdfast csi`: the driver for Kubernetes, a row of the table of commands for each of its processes. */
import type { OptionSpec } from './arguments.ts'
import type { Command } from './command.ts'
import { KUBECONFIG } from './ca-commands.ts'

const SOCKET: OptionSpec = {
  value: 'unix:///PATH', summary: 'where the sidecars, or kubelet, ask it (else CSI_ENDPOINT)',
}

const VOLUMES_MAX: OptionSpec = {
  value: 'N', summary: 'volumes attached to a node at most (default 128); the same for both processes',
}

export const csiCommands = (endpoint: Record<string, OptionSpec>): Command[] => [
  {
    words: 'csi controller',
    summary: 'new: CSI for the sidecars of Kubernetes: volumes, snapshots, groups; in the foreground',
    positionals: [],
    options: {
      'csi-endpoint': SOCKET,
      'volumes-max': VOLUMES_MAX,
      extender: { value: 'HOST:PORT', summary: 'tell schedulers of Kubernetes where pods with volumes go best' },
      'extender-tls': { value: 'DIR', summary: 'by tls.crt and tls.key, to who shows a certificate of ca.crt' },
      events: { summary: 'Events of PVCs: health of volumes, by one such process at a time, and what was ignored' },
      failover: { summary: 'pods are moved off nodes that died, by one such process at a time' },
      replacement: { summary: 'pods of nodes are replaced one after the other when their template was changed' },
      'drain-guard': { summary: 'a drain of a node waits while a volume has its last copy there' },
      'no-drain-guard': { summary: 'what such a guard left on nodes is removed' },
      'listen-metrics': { value: '[HOST:]PORT', summary: 'what is done beside CSI, for Prometheus (default: nowhere)' },
      kubeconfig: { value: 'FILE', summary: 'of the Kubernetes API, outside of a pod' },
      ...endpoint,
    },
    examples: [
      'holdfast csi controller --csi-endpoint unix:///csi/csi.sock --endpoint n1.storage:7400 --tls /etc/holdfast/tls',
    ],
    load: async () => (await import('./csi-controller.ts')).runCsiController,
  },
  {
    words: 'csi node',
    summary: 'new: CSI for kubelet of this host: stage, publish, statistics; in the foreground, as root',
    positionals: [],
    options: {
      'csi-endpoint': SOCKET,
      endpoint: { value: 'PATH', summary: 'folder or api.sock of the node on this host (else HOLDFAST_ENDPOINT)' },
      'cluster-endpoint': {
        value: 'HOST:PORT', summary: 'any node: says whether an attachment is over while the one here is silent',
      },
      tls: { value: 'DIR', summary: 'certificate for it, e.g. that of the node on this host (else HOLDFAST_TLS)' },
      'kubelet-dir': { value: 'DIR', summary: "kubelet's, out of which nothing is touched (default /var/lib/kubelet)" },
      state: { value: 'DIR', summary: 'the table of devices, kept over restarts (default /var/lib/holdfast/host)' },
      device: { value: 'nbd|fuse', summary: 'fuse: nbdfuse and a loop device, to try it out without the nbd module' },
      'volumes-max': VOLUMES_MAX,
    },
    examples: [
      'holdfast csi node --csi-endpoint unix:///csi/csi.sock --endpoint /var/lib/holdfast/n1',
    ],
    load: async () => (await import('./csi-node.ts')).runCsiNode,
  },
  {
    words: 'csi may-uninstall',
    summary: 'new: fail while a Kubernetes cluster has volumes or snapshots of this driver; the chart asks it',
    positionals: [],
    options: { kubeconfig: KUBECONFIG },
    examples: ['holdfast csi may-uninstall --kubeconfig ~/.kube/config'],
    load: async () => (await import('./csi-may-uninstall.ts')).mayUninstall,
  },
]
