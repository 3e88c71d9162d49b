/**
 * What happened, line by line, and a hash of all of it: two runs of one seed must agree in the hash. Lines are only
 * kept when somebody wants to read them; the hash always covers everything, and costs a few multiplications a line.
 */
export interface TraceLine {
  atMs: number
  who: string
  what: string
  epoch: number
  seq: number
  detail: string
}

export class Trace {
  readonly keeps: boolean
  readonly lines: TraceLine[] = []
  count = 0
  private high = 0x811c9dc5
  private low = 0x9e3779b9
  private readonly words = new Map<string, number>()
  private readonly now: () => number

  constructor(now: () => number, keeps: boolean) {
    this.now = now
    this.keeps = keeps
  }

  /** `detail` is built only when lines are kept; what it says follows from the rest, or from `extra`. */
  note(who: string, what: string, epoch = 0, seq = 0, extra: number | string = 0, detail?: () => string): void {
    this.count++
    const atMs = this.now()
    this.mix(Math.floor(atMs * 1000))
    this.mix(this.word(who))
    this.mix(this.word(what))
    this.mix(epoch)
    this.mix(seq)
    this.mix(typeof extra === 'number' ? extra : this.word(extra))
    if (!this.keeps) return
    const more = detail === undefined ? (extra === 0 ? '' : String(extra)) : detail()
    this.lines.push({ atMs, who, what, epoch, seq, detail: more })
  }

  get hash(): string {
    return [this.high, this.low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('')
  }

  /** Readable, the last `most` lines. */
  text(most = Infinity): string {
    const lines = this.lines.slice(-most).map(({ atMs, who, what, epoch, seq, detail }) => {
      const id = epoch === 0 && seq === 0 ? '' : `(${epoch > 1 << 20 ? `F+${epoch % (1 << 20)}` : epoch}, ${seq})`
      return `${atMs.toFixed(2).padStart(10)}  ${who.padEnd(8)} ${what.padEnd(18)} ${id.padEnd(12)} ${detail}`.trimEnd()
    })
    return lines.join('\n')
  }

  private mix(value: number): void {
    this.high = Math.imul(this.high ^ (value | 0), 0x01000193)
    this.low = Math.imul((this.low ^ Math.trunc(value / 0x1_0000_0000) ^ this.high) + value, 0x85ebca6b)
    this.low ^= this.low >>> 13
  }

  private word(text: string): number {
    let number = this.words.get(text)
    if (number === undefined) {
      number = 0
      for (let i = 0; i < text.length; i++) number = (Math.imul(number, 31) + text.charCodeAt(i)) | 0
      // Free text must not fill the memory.
      if (this.words.size < 10_000) this.words.set(text, number)
    }
    return number
  }
}

/** The same trace, for what happens to another volume: names are said with it. */
export class VolumeTrace extends Trace {
  private readonly base: Trace
  private readonly volume: string

  constructor(base: Trace, volume: string) {
    super(() => 0, base.keeps)
    this.base = base
    this.volume = volume
  }

  override note(...[who, ...rest]: Parameters<Trace['note']>): void {
    this.base.note(`${this.volume}:${who}`, ...rest)
  }
}
