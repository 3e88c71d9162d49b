/** NBD over TLS, option by option, and what a node and the scheduler extender say over plain HTTP. */
import net from 'node:net'
import { connect } from 'node:tls'
import { serveMetrics } from '../../cluster/metrics/http-server.ts'
import { METRICS } from '../../cluster/metrics/metric-table.ts'
import { ROLES } from '../../cluster/tls/identity.ts'
import { serveExtender } from '../../csi/kube/scheduling/scheduler-extender.ts'
import { AskedExports, answerExports } from '../../dataplane/nbd/export-calls.ts'
import { NbdListener } from '../../dataplane/nbd/listener.ts'
import type { ExportInfo } from '../../dataplane/nbd/listener.ts'
import { encodeInfoRequest, encodeOption } from '../../dataplane/nbd/option-data.ts'
import * as P from '../../dataplane/nbd/protocol.ts'
import { SecureNbd } from '../../dataplane/nbd/secure-nbd.ts'
import { TestCa } from '../cluster/tls/certificates.ts'
import { RawClient } from '../dataplane/nbd/raw-client.ts'
import { credentialsOf } from './credentials.ts'
import type { Shown, TestOwner } from './credentials.ts'
import type { Table } from './table.ts'

const HOST = '127.0.0.1'
const OPTIONS = Object.entries(P).filter(([name]) => name.startsWith('NBD_OPT_')) as Array<[string, number]>
/** Ends a handshake as it should be ended, whoever says it. */
const ENDS = new Set(['NBD_OPT_ABORT'])

export async function askNbd(t: TestOwner): Promise<Table> {
  const ca = new TestCa(t)
  const disk: ExportInfo = {
    name: 'disk', sizeBytes: 1 << 20, blockSizeBytes: 4096, readOnly: false, description: '', worker: 0,
  }
  const found = { list: () => [disk], find: (name: string) => (name === 'disk' ? disk : undefined) }
  const answer = answerExports(found, (one) => exports.answered(one), (error) => {
    throw error
  })
  const exports = new AskedExports((ask) => answer(ask))
  const sockets: net.Socket[] = []
  const nbd = new SecureNbd({
    folder: ca.folder({ role: 'node', name: 'n1' }), worker: 0, exports,
    sessions: { addSecure: ({ socket }) => sockets.push(socket), count: () => 0 },
    onElsewhere: () => undefined, onEnded: () => undefined, onRefused: () => undefined,
  })
  const listener = new NbdListener({
    exports: found, onSecure: (arrival) => nbd.accept(arrival), limits: { beforeTlsMax: 1024 },
    onSession: () => {
      throw new Error('a session without TLS')
    },
  })
  const port = await listener.listenSecurely({ host: HOST, port: 0 })
  t.teardown(() => {
    nbd.close()
    for (const socket of sockets) socket.destroy()
    return listener.close()
  })
  /** What came of the option; `yes` is any answer that an entitled client gets to it. */
  const ask = async (option: number, shown: Shown | undefined): Promise<string> => {
    const socket = net.connect({ port, host: HOST })
    let client = new RawClient(socket)
    try {
      await client.greet()
      if (shown !== undefined) {
        await client.option(P.NBD_OPT_STARTTLS)
        client = new RawClient(connect({ ...shown, socket, checkServerIdentity: () => undefined }))
      }
      const data = option === P.NBD_OPT_GO || option === P.NBD_OPT_INFO ? encodeInfoRequest(Buffer.from('disk'), [])
        : Buffer.alloc(0)
      if (option === P.NBD_OPT_EXPORT_NAME) {
        // The one option with another kind of answer: size and flags, or the end.
        client.socket.write(encodeOption(option, Buffer.from('disk')))
        await client.take(8)
        return 'yes'
      }
      const reply = (await client.option(option, data)).at(-1)!
      return reply.type === P.NBD_REP_ERR_TLS_REQD ? 'TLS_REQD' : 'yes'
    } catch {
      return 'closed'
    } finally {
      socket.destroy()
    }
  }
  const { strangers, roles } = credentialsOf(t, ca, 'n2')
  const rows = new Map<string, string[]>()
  for (const [name, option] of OPTIONS) {
    const plain = await ask(option, undefined)
    const refused = new Set<string>()
    for (const shown of Object.values(strangers)) refused.add(await ask(option, shown))
    const isForThat = ENDS.has(name) || option === P.NBD_OPT_STARTTLS
    const cells = [isForThat ? `${plain} (it is for that)` : plain, [...refused].join(', ')]
    for (const role of ROLES) cells.push(await ask(option, roles[role]))
    rows.set(name, cells)
  }
  const words = 'Over TCP of a node with certificates. A session begins behind `NBD_OPT_GO` or '
    + '`NBD_OPT_EXPORT_NAME` only. `yes`: the option was read and answered.'
  const columns = ['before TLS', 'no good certificate', ...ROLES]
  return { title: 'NBD over TLS', words, what: 'option', columns, rows }
}

/** Open to whoever reaches the port, unless it is given certificates; off unless asked for. */
export async function askExtender(t: TestOwner): Promise<Table> {
  const server = await serveExtender({
    host: HOST, port: 0, judge: () => Promise.resolve(undefined), onBug: () => undefined,
  })
  t.teardown(() => server.close())
  const rows = new Map<string, string[]>()
  const body = JSON.stringify({ Pod: { metadata: { name: 'pod', namespace: 'db' } }, NodeNames: [] })
  for (const path of ['/filter', '/prioritize', '/healthz', '/anything-else']) {
    const cells: string[] = []
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      const asked = method === 'GET' ? { method } : { method, body }
      cells.push(wordOf((await fetch(`http://${HOST}:${server.port}${path}`, asked)).status))
    }
    rows.set(path, cells)
  }
  const words = 'Of `csi controller` with `--extender`, in plain HTTP unless `--extender-tls` names certificates: then '
    + 'only to who shows one of their CA. Nothing can be changed there; who asks learns on which nodes the volumes of '
    + 'any PVC have copies.'
  return { title: 'Scheduler extender', words, what: 'path', columns: ['GET', 'POST', 'PUT', 'DELETE'], rows }
}

/** Open to whoever reaches the port, which is off unless asked for; nothing can be changed there. */
export async function askHttp(t: TestOwner): Promise<Table> {
  const checks = async () => [{ name: 'test', ok: true, words: 'fine' }]
  const server = await serveMetrics({ host: HOST, port: 0 }, {
    table: METRICS,
    figures: () => Promise.reject(new Error('not asked for')), live: checks, ready: checks,
  }, () => undefined)
  t.teardown(() => server.close())
  const at = `http://${HOST}:${server.port}`
  const paths = (await (await fetch(`${at}/`)).text()).match(/\/\w+/g)!
  const rows = new Map<string, string[]>()
  for (const path of [...paths, '/anything-else', '/../etc/passwd']) {
    const cells: string[] = []
    for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
      // What figures there are is not asked here: that a page would be made is enough.
      if (path === '/metrics' && method === 'GET') cells.push('open')
      else cells.push(wordOf((await fetch(`${at}${path}`, { method })).status))
    }
    rows.set(path, cells)
  }
  const words = 'With `--listen-metrics`; no data, no keys (`docs/metrics.md`). `/healthz` and `/readyz` '
    + 'are for those who look whether a node lives, and have no certificate.'
  return { title: 'HTTP', words, what: 'path', columns: ['GET', 'POST', 'PUT', 'DELETE'], rows }
}

const wordOf = (status: number): string => status === 200 ? 'open' : String(status)
