/**
 * A task: sequential code over ports that answer by callback, without promises, so that it runs the same in the
 * simulator and in the shell. `yield* until(resume => port.sync(resume))` waits; everything between two waits is one
 * turn.
 */
type Start = (resume: (value: unknown) => void) => void
export type Task<T> = Generator<Start, T, unknown>

/** Start something and wait for the value it answers with. */
export function* until<T>(start: (resume: (value: T) => void) => void): Task<T> {
  return (yield start as Start) as T
}

/** Run a task to its end. A start that answers before it returns does not deepen the stack. */
export function runTask<T>(task: Task<T>, done: (value: T) => void): void {
  let resumed: { value: unknown } | undefined
  let looping = false
  const loop = (): void => {
    looping = true
    while (resumed !== undefined) {
      const { value } = resumed
      resumed = undefined
      const next = task.next(value)
      if (next.done === true) {
        looping = false
        return done(next.value)
      }
      next.value((answer) => {
        resumed = { value: answer }
        if (!looping) loop()
      })
    }
    looping = false
  }
  resumed = { value: undefined }
  loop()
}

/** Wait for several starts at once; answers in their order. */
export function* untilAll<T>(starts: Array<(resume: (value: T) => void) => void>): Task<T[]> {
  if (starts.length === 0) return []
  return yield* until<T[]>((resume) => {
    const answers = new Array<T>(starts.length)
    let left = starts.length
    starts.forEach((start, i) =>
      start((value) => {
        answers[i] = value
        if (--left === 0) resume(answers)
      }),
    )
  })
}
