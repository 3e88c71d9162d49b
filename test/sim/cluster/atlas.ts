/**
 * The rule of a fault atlas (TigerBeetle's): anything may be damaged as long as some member of the in-sync set keeps
 * everything whole that it has to have. Damage is marked where it is made; when the last whole member leaves the set,
 * what is damaged on one of those left is undone, for then no protocol could have it back. What a disk lost that lied,
 * and its copy came back without, cannot be undone: when the last one that has it leaves, the run is over. In mode
 * `writeback` a member that lost power keeps nothing whole until it counts as whole again.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'

/** Of one block of the volume, or of the disk's structures: then nothing of the copy counts as whole. */
export type Damaged = number | 'disk'

export interface Mark {
  what: Damaged
  /** What was durable may be gone, and nothing tells. */
  lies?: boolean
  /** It is not there any more: overwritten, cleaned away, repaired. */
  isGone(): boolean
  /** Its copy came back without what is gone: that is not put back under it. */
  isKnown?(): void
  /** The medium gives back what was written. */
  undo(): void
}

export class Atlas {
  private readonly marks = new Map<string, Mark[]>()
  /** They came back without something, and were not brought in line yet. */
  private readonly short = new Set<string>()
  /** Their disks lied where it counts: whatever was undone since, what came of it stays. */
  private readonly liars = new Set<string>()
  /** They lost power with what was not synced, and know it. */
  private readonly powerless = new Set<string>()
  /** Whether a member has its copy, all of it (it is not being filled), and works. */
  private readonly hasCopy: (config: VolumeConfig, node: string) => boolean

  constructor(hasCopy: (config: VolumeConfig, node: string) => boolean) {
    this.hasCopy = hasCopy
  }

  /** Whether another member of the set keeps this whole. */
  mayDamage(config: VolumeConfig, node: string, what: Damaged): boolean {
    return config.inSync.some((other) => other !== node && this.hasCopy(config, other) && this.isWhole(other, what))
  }

  /** What was durable on its disk is there, or is known to be damaged. */
  isHonest(node: string): boolean {
    return !this.liars.has(node) && !this.short.has(node) && this.of(node).every(({ lies }) => lies !== true)
  }

  /** It came back without something that its disk had called durable, and is not in line yet. */
  isShort(node: string): boolean {
    return this.short.has(node)
  }

  /** From now on until its disk is another one. */
  noteLiar(node: string): void {
    this.liars.add(node)
  }

  note(node: string, mark: Mark): void {
    this.marks.set(node, [...this.of(node), mark])
  }

  /** Its disk is another one. */
  forget(node: string): void {
    this.marks.delete(node)
    this.short.delete(node)
    this.liars.delete(node)
    this.powerless.delete(node)
  }

  /** What it had not synced may be gone, as in `writeback`; or it has all that it acknowledged, again. True: news. */
  lostPower(node: string, isLost: boolean): boolean {
    if (isLost === this.powerless.has(node)) return false
    if (isLost) this.powerless.add(node)
    else this.powerless.delete(node)
    return true
  }

  /** A disk of it lied, and it came back without what was lost. */
  cameBackShort(node: string): void {
    this.short.add(node)
    for (const mark of this.of(node)) mark.isKnown?.()
  }

  /** They have what the others have: a log was chosen and brought to all of them, or they were filled. */
  broughtInLine(nodes: readonly string[]): void {
    for (const node of nodes) this.short.delete(node)
  }

  /** The set, or what a member has, is another than before. False: nobody has everything any more. */
  check(config: VolumeConfig): boolean {
    const present = config.inSync.filter((node) => this.hasCopy(config, node))
    const members = present.filter((node) => !this.short.has(node))
    if (members.length === 0) return present.length === 0
    const whole = members.filter((node) => !this.powerless.has(node))
    // Who lacks something and does not know it is believed; who lost power is not.
    if (whole.length === 0 && present.some((node) => this.short.has(node) && !this.powerless.has(node))) return false
    const all = new Set(members.flatMap((node) => this.of(node).map(({ what }) => what)))
    for (const what of all) {
      if (members.some((node) => this.isWhole(node, what))) continue
      // What was synced is where it was: of those who lost power nobody knows with whom.
      for (const node of whole.length > 0 ? [whole[0]!] : members) this.undo(node, what)
    }
    return true
  }

  private undo(node: string, what: Damaged): void {
    const isMeant = (mark: Mark): boolean => what === 'disk' || mark.what === what || mark.what === 'disk'
    for (const mark of this.of(node)) if (isMeant(mark)) mark.undo()
    this.marks.set(
      node,
      this.of(node).filter((mark) => !isMeant(mark)),
    )
  }

  private isWhole(node: string, what: Damaged): boolean {
    if (this.short.has(node) || this.powerless.has(node)) return false
    return !this.of(node).some((mark) => what === 'disk' || mark.what === what || mark.what === 'disk')
  }

  marksOf(node: string): readonly Mark[] {
    return this.of(node)
  }

  private of(node: string): Mark[] {
    const marks = (this.marks.get(node) ?? []).filter((mark) => !mark.isGone())
    this.marks.set(node, marks)
    return marks
  }
}
