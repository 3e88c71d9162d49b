/** The door of the log in a run: the model learns each record when it gets its place in a volume's history. */
import { uuidToHex } from '../../../engine/log/bytes.ts'
import type { Append } from '../../../engine/log/log-batch.ts'
import { RECORD_FLAG, RECORD_KIND, OPERATION } from '../../../engine/log/record.ts'
import type { StoreRun } from './store-run.ts'
import { ModelError } from './volume-model.ts'

export function watchAppends(run: StoreRun): void {
  for (const stream of run.world.store!.streams()) {
    const { log } = stream
    const append = log.append.bind(log)
    log.append = (one: Append) => {
      appended(run, one)
      if (run.o.faults === true && (one.record.flags & RECORD_FLAG.moved) === 0) {
        const id = uuidToHex(one.record.volumeId)
        const { done } = one
        one.done = (ok, ended) => {
          if (!ok) run.volumes.find((volume) => volume.id === id)?.model.lost(one.record.seq)
          done(ok, ended)
        }
      }
      append(one)
    }
  }
}

function appended(run: StoreRun, { record, payload }: Append): void {
  if ((record.flags & RECORD_FLAG.moved) !== 0) return
  const id = uuidToHex(record.volumeId)
  const volume = run.volumes.find((one) => one.id === id)
  if (volume === undefined) {
    // Epochs and pins of a volume that was deleted and is read by clones.
    if (record.kind === RECORD_KIND.control) return
    throw new ModelError(`a record of volume ${id}, which is not there`)
  }
  const { model } = volume
  if (record.kind !== RECORD_KIND.control) return model.appended(record, payload)
  const isFirst = record.seq > model.lastSeq
  model.control(record.seq)
  if (!isFirst) return
  const descriptor = run.world.store!.volumeObject(volume.name)?.descriptor
  if (descriptor === undefined) return
  if (record.operation === OPERATION.snapshot) {
    const made = descriptor.snapshots.find((one) => one.seq === record.seq)!
    volume.views.push({ id: made.id, seq: record.seq, content: model.content(), created: false, deleting: false })
  } else if (record.operation === OPERATION.rollback) {
    const [toSeq] = descriptor.rollbacks.at(-1)!
    const view = volume.views.find((one) => one.seq === toSeq)
    if (view === undefined) return model.fail(`a rollback to seq ${toSeq}, which no snapshot has`)
    model.replaced(record.seq, view.content)
  }
}
