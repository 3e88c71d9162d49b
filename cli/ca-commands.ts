/** `holdfast ca ...` in the table of commands. */
import type { Command } from './command.ts'

export const CA_COMMANDS: Command[] = [
  {
    words: 'ca init',
    summary: 'make the CA of a cluster whose nodes, users and store talk over TLS',
    positionals: [],
    options: {
      dir: { value: 'DIR', summary: 'required; a folder off the nodes' },
      cluster: { value: 'ID', summary: 'of a cluster that is there already (default: drawn; the cluster takes it)' },
      days: { value: 'N', summary: 'how long it is valid (default 3650)' },
    },
    examples: ['holdfast ca init --dir ./ca'],
    load: async () => (await import('./ca.ts')).initCa,
  },
  {
    words: 'ca issue',
    summary: 'make a key and a certificate: a folder for --tls',
    positionals: [],
    options: {
      dir: { value: 'DIR', summary: 'required; of the CA' },
      node: { value: 'NAME', summary: 'for that node' },
      role: { value: 'ROLE', summary: 'else for a user: viewer, operator, admin, csi; or store: the cluster store' },
      name: { value: 'NAME', summary: 'who that is, for logs (default: as the role)' },
      dns: { value: 'NAME', many: true, summary: 'host name of a store or an NBD server, as clients call it' },
      ip: { value: 'ADDRESS', many: true, summary: 'address of a store or an NBD server' },
      days: { value: 'N', summary: 'how long it is valid (default 90)' },
      'from-now': { summary: 'new: from now on, not five minutes before; for the name of a node just removed' },
      out: { value: 'DIR', summary: 'the folder to make (default: NAME in that of the CA)' },
    },
    examples: [
      'holdfast ca issue --dir ./ca --node n1 --ip 10.0.0.1',
      'holdfast ca issue --dir ./ca --role admin --name alice --days 7',
      'holdfast ca issue --dir ./ca --role store --dns store.example.org',
    ],
    load: async () => (await import('./ca.ts')).issueCertificate,
  },
]
