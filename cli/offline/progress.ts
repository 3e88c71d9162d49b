/** How far long work is, on one line of stderr that is rewritten; nothing when stderr is no terminal. */
export interface Progress {
  say(text: string): void
  end(): void
}

const INTERVAL_MS = 200

export function createProgress(): Progress {
  if (process.stderr.isTTY !== true) return { say: () => {}, end: () => {} }
  let saidAt = 0
  let shown = false
  return {
    say(text) {
      const now = performance.now()
      if (now - saidAt < INTERVAL_MS) return
      saidAt = now
      shown = true
      process.stderr.write(`\r\x1b[K${text}`)
    },
    end() {
      if (shown) process.stderr.write('\r\x1b[K')
      shown = false
    },
  }
}
