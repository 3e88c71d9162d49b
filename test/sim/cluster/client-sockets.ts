/**
 * The connections of a client to its frontend, one to several, as a kernel's block device has them: a request goes out
 * on any of them, and one that is lost is followed by another one.
 */
import type { Random } from '../random.ts'

export class ClientSockets {
  private open: number[] = []
  private last = 0
  private readonly random: Random

  constructor(random: Random) {
    this.random = random
  }

  /** Its process is gone with all of them; the next one has so many. */
  begin(count: number): void {
    this.open = []
    for (let i = 0; i < count; i++) this.add()
  }

  add(): void {
    this.open.push(++this.last)
  }

  /** Where the next request goes, if there is any. */
  any(): number | undefined {
    return this.open.length > 1 ? this.random.pick(this.open) : this.open[0]
  }

  /** One is gone. */
  lose(random: Random): number | undefined {
    const [lost] = this.open.splice(random.int(this.open.length), 1)
    return lost
  }
}
