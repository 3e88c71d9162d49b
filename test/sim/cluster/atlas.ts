/**
 * The rule of a fault atlas (TigerBeetle's): anything may be damaged as long as some member of the in-sync set keeps
 * everything whole that it has to have. Damage is marked where it is made; when the last whole member leaves the set,
 * what is damaged on one of those left is undone, for then no protocol could have it back.
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
  /** The medium gives back what was written. */
  undo(): void
}

export class Atlas {
  private readonly marks = new Map<string, Mark[]>()
  /** Whether a member has its copy and works. */
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
    return this.of(node).every(({ lies }) => lies !== true)
  }

  note(node: string, mark: Mark): void {
    this.marks.set(node, [...this.of(node), mark])
  }

  /** Its disk is another one. */
  forget(node: string): void {
    this.marks.delete(node)
  }

  /** The set, or what a member has, is another than before. */
  check(config: VolumeConfig): void {
    const members = config.inSync.filter((node) => this.hasCopy(config, node))
    const all = new Set(members.flatMap((node) => this.of(node).map(({ what }) => what)))
    for (const what of all) if (!members.some((node) => this.isWhole(node, what))) this.undo(members[0]!, what)
  }

  undoAll(node: string): void {
    for (const { undo } of this.of(node)) undo()
    this.forget(node)
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
    return !this.of(node).some((mark) => what === 'disk' || mark.what === what || mark.what === 'disk')
  }

  private of(node: string): Mark[] {
    const marks = (this.marks.get(node) ?? []).filter((mark) => !mark.isGone())
    this.marks.set(node, marks)
    return marks
  }
}
