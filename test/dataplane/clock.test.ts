/** One batch per turn: what is deferred runs after every socket that was readable has been read. */
import fs from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import t from 'tap'
import { clock } from '../../dataplane/clock.ts'

t.test('time goes on, timers run after it and can be cancelled', (t) => {
  const start = clock.nowMs()
  clock.after(1, () => t.fail('was cancelled')).cancel()
  clock.after(5, () => {
    t.ok(clock.nowMs() - start >= 4)
    t.end()
  })
})

t.test('deferred work runs once, after the data of all connections of a poll', (t) => {
  const connections = 8
  const server = net.createServer()
  const clients: net.Socket[] = []
  const order: string[] = []
  let planned = false
  let accepted = 0
  server.on('connection', (socket) => {
    socket.on('data', () => {
      order.push('data')
      if (planned) return
      planned = true
      clock.defer(() => {
        planned = false
        order.push('batch')
        if (order.filter((what) => what === 'data').length < connections) return
        t.ok(order.indexOf('batch') >= 2, order.join(' '))
        for (const client of clients) client.destroy()
        server.close(() => t.end())
      })
    })
    if (++accepted < connections) return
    // All bytes are in the kernel before this turn ends, so that one poll finds every socket readable.
    for (const client of clients) client.write('x')
  })
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'clock-'))
  t.teardown(() => fs.rmSync(dir, { recursive: true }))
  const socketPath = path.join(dir, 's')
  server.listen(socketPath, () => {
    for (let i = 0; i < connections; i++) clients.push(net.connect(socketPath))
  })
})
