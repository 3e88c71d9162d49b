/** The RPCs of a service as gRPC handlers: each is audited, and an unexpected rejection is told as a bug. */
import { status } from '@grpc/grpc-js'
import type { ServiceError, handleServerStreamingCall, handleUnaryCall } from '@grpc/grpc-js'
import { HoldfastError } from '../../engine/errors.ts'
import type { Caller } from './access.ts'
import type { CallGuard } from './call-guard.ts'
import { refusalToStatus } from './refusal.ts'

export function unary(
  run: (request: never, caller: Caller) => Promise<unknown>,
  guard: CallGuard,
  onBug: (error: unknown) => void,
): handleUnaryCall<unknown, unknown> {
  return (call, answer) => {
    const ended = guard.begins(call.metadata, call.request)
    const refusal = guard.whyNot(call.metadata, call.request)
    const answered = refusal === undefined ? run(call.request as never, guard.caller(call.metadata))
      : Promise.reject(refusal)
    answered.then(
      (response) => {
        ended()
        answer(null, response)
      },
      (error: unknown) => {
        ended(error)
        answer(failure(error))
        if (!(error instanceof HoldfastError)) onBug(error)
      },
    )
  }
}

const failure = (error: unknown): Partial<ServiceError> =>
  error instanceof HoldfastError ? refusalToStatus(error)
    : { code: status.INTERNAL, details: 'the daemon hit a bug of its own; daemon.log has it' }

export function streaming(
  run: (request: never, caller: Caller) => AsyncIterable<unknown>,
  guard: CallGuard,
  onBug: (error: unknown) => void,
): handleServerStreamingCall<unknown, unknown> {
  return (call) => {
    const caller = guard.caller(call.metadata)
    let isOver = false
    let wake = (): void => undefined
    const drained = (): Promise<void> => new Promise((resolve) => {
      wake = () => {
        call.off('drain', wake).off('cancelled', wake)
        resolve()
      }
      call.on('drain', wake).on('cancelled', wake)
    })
    const letGo = guard.hold(caller, (why) => {
      isOver = true
      call.emit('error', failure(why))
      wake()
    })
    // Its token ended before it began.
    if (isOver) return
    const answer = async (): Promise<void> => {
      for await (const one of run(call.request as never, caller)) {
        if (!isOver && !call.cancelled && !call.write(one)) await drained()
        if (isOver || call.cancelled) return
      }
      if (!isOver) call.end()
    }
    answer().catch((error: unknown) => {
      if (!isOver) call.emit('error', failure(error))
      if (!(error instanceof HoldfastError)) onBug(error)
    }).finally(letGo)
  }
}
