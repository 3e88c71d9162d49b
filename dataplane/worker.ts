/**
 * A data worker: a thread that owns a store and the NBD sessions of its volumes end to end. The main thread sends calls
 * and accepted sockets (worker-messages.ts); nothing else is shared, so a stalled main thread does not stall I/O.
 *
 * An uncaught exception here is a bug of ours: it ends the thread, the main thread then ends the process, and the
 * supervisor starts it again on a store that is crash-safe.
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { MessagePort } from 'node:worker_threads'
import type { WorkerFigures } from '../cluster/metrics/figures.ts'
import { collectStart } from '../cluster/start-garbage.ts'
import type { LogPort } from '../engine/ports.ts'
import { clock } from './clock.ts'
import { VolumeMeters } from './meters/volume-meters.ts'
import { runReplicatedWorker } from './replicated-worker.ts'
import { NbdSessions } from './session-table.ts'
import { StoreCalls } from './store-calls.ts'
import { openStore } from './store-shell.ts'
import { VolumeGates } from './volume-gates.ts'
import { WorkerTls, openWorkerTls, takeTls } from './worker-tls.ts'
import { packError } from './worker-messages.ts'
import type { FromWorker, ToWorker, WorkerStart } from './worker-messages.ts'

async function run(port: MessagePort, start: WorkerStart): Promise<void> {
  const post = (message: FromWorker) => port.postMessage(message)
  const log: LogPort = { event: (level, message, fields) => post({ kind: 'event', level, message, fields }) }
  // Nothing else keeps the thread alive while it waits for the other workers to recover.
  port.ref()
  if (start.replication !== undefined) return runReplicatedWorker(port, { ...start, log }, start.replication)
  const opened = await openStore({ ...start, log })
  if (!opened.ok) return post({ kind: 'refused', error: packError(opened.error) })
  const store = opened.value
  const specOf = (name: string) => store.volume(name)?.spec
  const meters = new VolumeMeters(clock, ({ id, name }) => specOf(name)?.id === id)
  const gates = new VolumeGates(clock)
  const sessions = new NbdSessions({
    deviceOf: (volume) => store.device(volume),
    onEnded: (session) => post({ kind: 'session-ended', session }),
    meterOf: (volume) => meters.of(specOf(volume)!),
    gateOf: (volume) => gates.of(specOf(volume)!.id, specOf(volume)!.qos),
  })
  const tls = WorkerTls.of({ folder: openWorkerTls(start.tls, log), worker: start.worker, sessions, log, post })
  const calls = new StoreCalls(store, sessions, gates)
  port.on('message', (message: ToWorker) => {
    switch (message.kind) {
      case 'call':
        if (message.call.kind === 'stop') tls?.close()
        return calls.run(message.call, (answer) => post({ kind: 'answer', id: message.id, answer }))
      case 'session': return sessions.add(message.session)
      case 'secure-nbd':
      case 'exports': return takeTls(tls, message)
      case 'ping': return post({ kind: 'answer', id: message.id, answer: { ok: true, value: undefined } })
      case 'figures': {
        const attachments = meters.figures((volumeId) => ({ qosWaitedMs: gates.waitedMs(volumeId) }))
        const value: WorkerFigures = { attachments, copies: [], disks: store.diskFigures() }
        return post({ kind: 'answer', id: message.id, answer: { ok: true, value } })
      }
      default: throw new Error(`${message.kind} is for the worker of a node of a cluster`)
    }
  })
  collectStart()
  post({ kind: 'opened', report: calls.report() })
}

if (parentPort !== null) await run(parentPort, workerData as WorkerStart)
