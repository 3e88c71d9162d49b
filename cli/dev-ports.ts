/**
 * Loopback ports for the nodes of `holdfast dev`: from 10809 on for NBD, from 9420 on for metrics, from 8420 on for the
 * control API over TLS, those that nobody listens on. A port is claimed for as long as we run, by an abstract socket of
 * that number, so that no other `holdfast dev` chooses it before our node listens there, or while that node is down.
 */
import { once } from 'node:events'
import net from 'node:net'
import { HoldfastError } from '../engine/errors.ts'

const NBD_FIRST = 10809
export const METRICS_FIRST = 9420
export const API_FIRST = 8420
const PORTS_TRIED = 200

/** @throws HoldfastError `port-busy` when so many cannot be had */
export async function claimPorts(count: number, first = NBD_FIRST): Promise<number[]> {
  const claimed: number[] = []
  for (let port = first; port < first + PORTS_TRIED && claimed.length < count; port++) {
    const claim = net.createServer().unref()
    if (!(await listens(claim, { path: `\0holdfast-dev-${port}` }))) continue
    const probe = net.createServer()
    if (await listens(probe, { host: '127.0.0.1', port })) {
      claimed.push(port)
      await once(probe.close(), 'close')
    } else {
      claim.close()
    }
  }
  if (claimed.length === count) return claimed
  throw new HoldfastError('port-busy', { port: `${first} to ${first + PORTS_TRIED - 1}` })
}

function listens(server: net.Server, where: net.ListenOptions): Promise<boolean> {
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(where, () => resolve(true))
  })
}
