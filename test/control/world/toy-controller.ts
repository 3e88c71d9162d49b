/**
 * A controller of the simulation: what a shell would be. It learns late, acts late, loses answers, forgets everything
 * when it ends, and may believe to be elected while another one is.
 */
import type { VolumeConfig } from '../../../engine/replication/configuration.ts'
import type { Action } from '../../../engine/control/actions.ts'
import {
  heard,
  newCluster,
  setAge,
  setConfig,
  setDiskWish,
  setMove,
  setNode,
  setNodeStatus,
  setNodeWish,
  setRebuilds,
  setVolume,
} from '../../../engine/control/cluster.ts'
import type { Cluster } from '../../../engine/control/cluster.ts'
import type { ControlOptions } from '../../../engine/control/control-options.ts'
import type { DiskWish, NodeRecord, NodeStatus, NodeWish } from '../../../engine/control/node-status.ts'
import { newPlanner, planPass } from '../../../engine/control/plan.ts'
import type { Planner } from '../../../engine/control/plan.ts'
import type { RebuildTable } from '../../../engine/control/rebuild-table.ts'
import type { Move, VolumeRecord } from '../../../engine/control/volume-record.ts'
import type { Random } from '../../sim/random.ts'
import type { ToyStore, Watcher } from './toy-store.ts'

export interface ControllerOptions {
  name: string
  store: ToyStore
  control: Partial<ControlOptions>
  delayMs: number
  random: Random
  nowMs: number
}

type News = { atMs: number; take: (nowMs: number) => void }

export class ToyController {
  readonly name: string
  readonly cluster: Cluster
  isElected = true
  private readonly planner: Planner
  private readonly store: ToyStore
  private readonly random: Random
  private readonly delayMs: number
  private readonly watcher: Watcher
  private news: News[] = []
  private lastAtMs = 0
  private passes = 0
  private nowMs: number

  constructor({ name, store, control, delayMs, random, nowMs }: ControllerOptions) {
    this.name = name
    this.store = store
    this.random = random
    this.delayMs = delayMs
    this.nowMs = nowMs
    this.cluster = newCluster(nowMs, control)
    this.planner = newPlanner(this.cluster)
    this.watcher = (key, value, version) => this.later(() => this.learn(key, value, version))
    for (const [key, { value, version }] of store.entries) this.learn(key, value, version)
    store.watchers.add(this.watcher)
  }

  end(): void {
    this.store.watchers.delete(this.watcher)
  }

  beat(node: string): void {
    this.later((nowMs) => heard(this.cluster, node, nowMs))
  }

  /** @param askedAtMs  the question that it answers */
  hear(node: string, status: NodeStatus, askedAtMs: number): void {
    this.later(() => setNodeStatus(this.cluster, status, askedAtMs))
  }

  pass(nowMs: number): Action[] {
    this.nowMs = nowMs
    const due = this.news.filter(({ atMs }) => atMs <= nowMs)
    this.news = this.news.filter(({ atMs }) => atMs > nowMs)
    for (const { take } of due) take(nowMs)
    if (!this.isElected) return []
    return planPass(this.planner, nowMs, `${this.name}.${++this.passes}`)
  }

  /** In order. */
  private later(take: News['take']): void {
    const atMs = Math.max(this.lastAtMs, this.nowMs + this.random.float() * this.delayMs)
    this.lastAtMs = atMs
    this.news.push({ atMs, take })
  }

  private learn(key: string, value: unknown, version: string): void {
    const { cluster } = this
    const [kind, id = ''] = key.split('/')
    if (kind === 'volumes') setVolume(cluster, id, value as VolumeRecord | undefined, version)
    else if (kind === 'configs') setConfig(cluster, id, value as VolumeConfig | undefined, version)
    else if (kind === 'moves') setMove(cluster, id, value as Move | undefined, version)
    else if (kind === 'nodes') setNode(cluster, id, value as NodeRecord | undefined, this.nowMs)
    else if (kind === 'node-wishes') setNodeWish(cluster, id, value as NodeWish)
    else if (kind === 'disk-wishes') setDiskWish(cluster, id, value as DiskWish)
    else if (kind === 'rebuilds') setRebuilds(cluster, value as RebuildTable, version)
    else if (kind === 'cluster-age') setAge(cluster, value as number, version, this.nowMs)
  }
}
