/** `holdfast ca ...` in the table of commands. */
import type { Command } from './command.ts'

export const KUBECONFIG = { value: 'FILE', summary: 'how the Kubernetes API is reached (default: as a pod is told)' }

export const CA_COMMANDS: Command[] = [
  {
    words: 'ca init',
    summary: 'make the CA of a cluster whose nodes, users and store talk over TLS',
    positionals: [],
    options: {
      dir: { value: 'DIR', summary: 'required; a folder off the nodes' },
      secret: { value: 'NAME', summary: 'new: instead: in a Kubernetes cluster, as a Secret of that name' },
      kubeconfig: KUBECONFIG,
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
  {
    words: 'ca request',
    summary: 'new: in a Kubernetes cluster, ask for a certificate: a folder for --tls',
    positionals: [],
    options: {
      'kube-node': { value: 'NAME', summary: 'for a node, as Kubernetes calls it' },
      role: { value: 'csi', summary: 'else for the controller' },
      ca: { value: 'FILE', summary: 'required; ca.crt of the CA' },
      out: { value: 'DIR', summary: 'required; the folder to make, or to keep: what is good in there stays' },
      watch: { summary: 'go on, and ask for another one after a third of its life' },
      kubeconfig: KUBECONFIG,
    },
    examples: ['holdfast ca request --kube-node worker-1 --ca /etc/holdfast/ca.crt --out /etc/holdfast/tls --watch'],
    load: async () => (await import('./ca-kube.ts')).requestCertificate,
  },
  {
    words: 'ca sign',
    summary: 'new: in a Kubernetes cluster, sign what its nodes ask for; in the foreground',
    positionals: [],
    options: {
      dir: { value: 'DIR', summary: 'required; of the CA, with its key' },
      'node-account': { value: 'NAMESPACE:NAME', summary: 'required; service account of the pods of nodes' },
      'csi-account': { value: 'NAMESPACE:NAME', summary: 'required; of the pod of `holdfast csi controller`' },
      kubeconfig: KUBECONFIG,
    },
    examples: [
      'holdfast ca sign --dir /etc/holdfast/ca --node-account hf:hf-node --csi-account hf:hf-csi',
    ],
    load: async () => (await import('./ca-kube.ts')).signCertificates,
  },
]
