/**
 * What failover asks of the world: each call made at most once, and answered with what was read or done, or with a
 * sentence why not (`problem`). One without an answer may have been carried out. Nothing is thrown but for bugs.
 */
import type { ToldEvent } from '../event-recorder.ts'
import type {
  AttachmentFacts, HoldfastUse, ListedNode, NodeFacts, PodFacts, StorageStates, Taint,
} from './failover-facts.ts'

export type Read<T> = { ok: true; value: T } | { ok: false; problem: string }

/** Undefined: done, or there was nothing left to do. */
export type Done = Promise<string | undefined>

export type Removal =
  | 'delete' // grace 0
  | 'evict' // refused for a budget: `budget`
  | 'delete-gently' // with its own grace

export interface FailoverPort {
  /** All nodes, as Kubernetes has them; may lag. */
  nodes(): Promise<Read<ListedNode[]>>
  /** All nodes, as Holdfast has them. One of a former version that may answer is a problem. */
  storage(): Promise<Read<StorageStates>>
  /** resourceVersion of a kubelet's Lease as it is now; empty: there is none. */
  lease(node: string): Promise<Read<string>>
  /** All pods of a node; the one of its data process also before it is bound. */
  pods(node: string): Promise<Read<PodFacts[]>>
  attachments(node: string): Promise<Read<AttachmentFacts[]>>
  use(holdfastNode: string): Promise<Read<HoldfastUse>>
  /** Of a volume, the newest that an attachment of it may have; 0: Holdfast has no such volume. */
  generation(volumeId: string): Promise<Read<number>>
  /** Detaches what is not newer than that; done when an active primary refuses what that node had. */
  fence(volumeId: string, holdfastNode: string, generation: number): Done
  /** On the version of the node that is given. */
  setTaints(node: NodeFacts, taints: readonly Taint[]): Done
  /** With UID and version of the pod as preconditions. */
  remove(pod: PodFacts, how: Removal): Promise<'done' | 'budget' | { problem: string }>
  release(attachment: AttachmentFacts): Done
  tell(event: ToldEvent): void
  log(line: string): void
  /** Monotonic. */
  nowMs(): number
  pause(ms: number): Promise<void>
}
