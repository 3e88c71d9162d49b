/** What is measured at one size of a cluster (control-cell.ts). Times in milliseconds; of the processor unless said. */
import type { StoreCounts } from './paper-store.ts'

/** Of the elected node: taking in reports, and passes. */
export interface ElectedTime {
  reportMs: number
  passMs: number
  passes: number
}

export interface CellFigures {
  nodes: number
  volumes: number
  /** What the store holds. */
  loaded: { keys: number; bytes: number }
  /** From the election until all is known, judged and found well; `waitedMs` on the clock. */
  beginning: ElectedTime & { waitedMs: number; store: StoreCounts }
  /** A second in which nothing changes. `allMs`: of all nodes and the store together. */
  idle: ElectedTime & { allMs: number; reportBytes: number; store: StoreCounts }
  /** A second in which every volume is written. */
  active: ElectedTime & { reportBytes: number }
  /** One configuration is changed by somebody else. */
  change: { passMs: number; passes: number; store: StoreCounts }
  /** One more volume; `waitedMs` on the clock. */
  creation: { waitedMs: number; electedMs: number; seconds: number; store: StoreCounts }
  /** A node without copies: what it keeps of all volumes, and what reading that costs. */
  sample: { bytes: number; cpuMs: number; pages: number; listedBytes: number }
  storm: StormFigures | undefined
  /** What the elected node has in memory because it is that. */
  electedBytes: number
}

export interface StormFigures {
  /** Volumes that lost their primary, and copies of others on the same node. */
  led: number
  copies: number
  /** On the clock: from the end of the grace until the first and the last has another primary. */
  firstMs: number
  lastMs: number
  /** Until then. */
  store: StoreCounts
  elected: ElectedTime
  /** What others did to take over, all together. */
  candidatesMs: number
  longestPassMs: number
  /** Of a second after the node is known to be down, while its copies are waited for. */
  waiting: ElectedTime
  /** Of such a second with fifty changes of volumes. */
  changing: ElectedTime
}
