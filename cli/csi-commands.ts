/** `holdfast csi`: the driver for Kubernetes, a row of the table of commands for each of its processes. */
import type { OptionSpec } from './arguments.ts'
import type { Command } from './command.ts'

const SOCKET: OptionSpec = {
  value: 'unix:///PATH', summary: 'where the sidecars, or kubelet, ask it (else CSI_ENDPOINT)',
}

export const csiCommands = (endpoint: Record<string, OptionSpec>): Command[] => [
  {
    words: 'csi controller',
    summary: 'new: CSI for the sidecars of Kubernetes: volumes, snapshots, groups; in the foreground',
    positionals: [],
    options: { 'csi-endpoint': SOCKET, ...endpoint },
    examples: [
      'holdfast csi controller --csi-endpoint unix:///csi/csi.sock --endpoint n1.storage:7400 --tls /etc/holdfast/tls',
    ],
    load: async () => (await import('./csi-controller.ts')).runCsiController,
  },
]
