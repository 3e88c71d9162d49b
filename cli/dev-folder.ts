/**
 * What a dev folder was made as, so that it resumes as that:
 *
 *   DIR/cluster.json   {nodes, store?, tls?}: made with several nodes, or with a store; `store` when it is not ours
 *   DIR/n1 alone       one node by itself
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { nodePaths, readJson, replaceFile } from '../dataplane/node-folder.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'

const NODES_DEFAULT = 3
const NODES_MAX = 9

export interface DevWish {
  nodes: number | undefined
  store: string | undefined
  tls?: boolean
}

export interface DevShape {
  nodes: number
  /** `own`: a process of `holdfast dev`; `none`: the node is by itself. */
  store: 'none' | 'own' | { url: string }
  /** With certificates of its own. */
  tls?: true
}

/** Whether it is one node by itself although several are what a new folder gets: said, for nobody asked for it. */
export const isLone = (dir: string, wish: DevWish, { store }: DevShape): boolean =>
  wish.nodes === undefined && store === 'none' && existsSync(nodePaths(dir, 'n1').folder)

export function parseNodes(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  if (!/^[1-9]$/.test(text)) throw usageError(`--nodes ${text} is no number of nodes`, `give 1 to ${NODES_MAX}`)
  return Number(text)
}

interface Kept {
  nodes: number
  store?: string
  tls?: boolean
}

/** @throws HoldfastError `usage` when the folder was made as something else */
export function devShape(dir: string, wish: DevWish): DevShape {
  const kept = keptShape(dir)
  if (kept === undefined) {
    const nodes = wish.nodes ?? NODES_DEFAULT
    const tls = tlsOf(wish)
    if (tls.tls && (wish.store !== undefined || nodes === 1)) {
      throw usageError('--tls is for several nodes and a store of their own', 'leave --store and --nodes 1 out')
    }
    if (wish.store !== undefined) return { nodes, store: { url: wish.store } }
    return { nodes, store: nodes === 1 ? 'none' : 'own', ...tls }
  }
  if (wish.nodes !== undefined && wish.nodes !== kept.nodes) {
    const [has, asked] = [kept.nodes, wish.nodes].map((count) => `${count} ${count === 1 ? 'node' : 'nodes'}`)
    refuse(`${dir} was made with ${has}, not with ${asked}`, `leave --nodes out to resume it`)
  }
  if (wish.tls === true && kept.tls !== true) refuse(`${dir} was made without TLS`, 'leave --tls out to resume it')
  if (wish.store === undefined) return kept
  if (kept.store === 'none') refuse(`${dir} was made without a cluster store`, 'leave --store out to resume it')
  if (kept.store === 'own') refuse(`${dir} has a cluster store of its own`, 'leave --store out to resume it')
  return { nodes: kept.nodes, store: { url: wish.store } }
}

/** At the first start of a cluster. */
export function keepShape(dir: string, { nodes, store, tls }: DevShape): void {
  const file = shapeFile(dir)
  if (store === 'none' || existsSync(file)) return
  const kept: Kept = { nodes, ...(store === 'own' ? {} : { store: store.url }), ...tlsOf({ tls }) }
  replaceFile(file, `${JSON.stringify(kept)}\n`)
}

const tlsOf = ({ tls }: { tls?: boolean | undefined }): { tls?: true } => (tls === true ? { tls } : {})

const shapeFile = (dir: string): string => path.join(dir, 'cluster.json')

function keptShape(dir: string): DevShape | undefined {
  const file = shapeFile(dir)
  const kept = readJson(file) as Kept | undefined
  if (kept === undefined) return existsSync(nodePaths(dir, 'n1').folder) ? { nodes: 1, store: 'none' } : undefined
  const { nodes, store, tls } = kept
  if (!Number.isInteger(nodes) || nodes < 1 || nodes > NODES_MAX) {
    throw new HoldfastError('folder', { dir: file, reason: 'it does not say how many nodes there are' })
  }
  return { nodes, store: store === undefined ? 'own' : { url: store }, ...tlsOf({ tls }) }
}

function refuse(problem: string, instead: string): never {
  throw usageError(problem, `${instead}, or give another folder with --dir`)
}
