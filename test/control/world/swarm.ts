/** The world of one seed: how many nodes, zones, disks and volumes, how long things take, and how much goes wrong. */
import { GIB } from '../../../engine/units.ts'
import type { Random } from '../../sim/random.ts'

export interface ToySwarm {
  seed: number
  nodes: number
  zones: number
  disksPerNode: number
  capacityBytes: number
  tagged: boolean
  volumes: number
  /** Of the volumes; each is at most nodes - 1. */
  replicasMax: number
  writebackShare: number
  allowDegradedShare: number
  /** Seconds of trouble; then all heals. */
  troubleSeconds: number
  /** Chance of a fault, and of an operator's wish, each second. */
  faultChance: number
  wishChance: number
  /** Seconds a fill takes, at most. */
  fillSeconds: number
  /** Of what a controller learns, and of what it orders, at most. */
  delaySeconds: number
  lossChance: number
  /** Controllers that believe to be elected at the same time. */
  controllersMax: number
  rebuildsMax: number
  rebuildsPerNode: number
  /** Of the volumes, those of which a copy follows the user; and the chance that one gets another user, each second. */
  localShare: number
  useChance: number
  /** Chance of a clone, and of a user's wish that one shares nothing, each second. */
  cloneChance: number
  /** Chance that a copy cannot read something any more, each second. */
  rotChance: number
}

export function drawToySwarm(seed: number, random: Random): ToySwarm {
  const nodes = random.pick([1, 2, 2, 3, 3, 4, 5, 6, 8, 12])
  const isCrowded = random.chance(0.08)
  // One volume is much of a disk.
  const isTight = !isCrowded && nodes >= 3 && random.chance(0.25)
  return {
    seed,
    nodes,
    zones: random.chance(0.4) ? 0 : random.between(1, Math.min(4, nodes)),
    disksPerNode: isTight ? 1 : random.between(1, 3),
    capacityBytes: (isCrowded ? 8000 : isTight ? 30 : random.pick([200, 1000, 4000])) * GIB,
    tagged: !isTight && random.chance(0.3),
    volumes: isCrowded ? random.between(100, 300) : random.between(1, isTight ? 6 : 30),
    replicasMax: Math.min(nodes - 1, isTight ? 1 : random.pick([1, 2, 2, 3, 5])),
    writebackShare: random.pick([0, 0.3, 1]),
    allowDegradedShare: random.pick([0, 0.5]),
    troubleSeconds: isCrowded ? 200 : random.between(200, 700),
    faultChance: random.pick([0, 0.02, 0.05, 0.15]),
    wishChance: random.pick([0, 0.03, 0.1]),
    fillSeconds: random.pick([3, 10, 40]),
    delaySeconds: random.pick([0, 1, 2]),
    lossChance: random.pick([0, 0.1, 0.3]),
    controllersMax: random.pick([1, 2, 2]),
    rebuildsMax: random.pick([1, 3, 16]),
    rebuildsPerNode: random.pick([1, 2, 4]),
    // Drawn by none, as what follows: the other seeds are what they were.
    localShare: seed % 10 === 9 ? 0.7 : 0,
    useChance: seed % 10 === 9 ? 0.05 : 0,
    cloneChance: seed % 5 === 0 && !isCrowded && !isTight ? 0.06 : 0,
    rotChance: seed % 7 === 3 ? 0.05 : 0,
  }
}
