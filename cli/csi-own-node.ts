/**
 * Which node's data process serves this host, for `holdfast csi node`. The control API says so, and may be silent just
 * when a host starts whose pods have to be unmounted: what it said last is kept in the state folder, and used until it
 * answers again. The folder of a node keeps its name and id for as long as there is one.
 */
import fs from 'node:fs'
import path from 'node:path'
import { connectControlApi } from '../cluster/api/client.ts'
import { pause } from '../cluster/pause.ts'
import { HoldfastError } from '../engine/errors.ts'
import { usageError } from './arguments.ts'
import { findEndpoint, namedEndpoint } from './endpoint.ts'

const CALL_MS = 20_000
const AGAIN_MS = 1000
const FILE = 'own-node'

export interface OwnNode {
  /** As `--endpoint` was given. */
  place: string
  socketPath: string
  name: string
  id: string
  zone: string
}

const FIELDS = ['place', 'socketPath', 'name', 'id', 'zone'] as const

export interface OwnNodeOptions {
  /** `--endpoint`. */
  flag: string | undefined
  stateFolder: string
  log(line: string): void
  /** Aborted when the process is to end. */
  signal: AbortSignal
}

/** The node whose daemon the endpoint is: it and kubelet are on one host. @throws HoldfastError: not now, or never */
async function askOwnNode(flag: string | undefined): Promise<OwnNode> {
  const { socketPath, source } = await findEndpoint(flag)
  const folder = fs.realpathSync(path.dirname(socketPath))
  const api = connectControlApi({ socketPath, source }, CALL_MS)
  try {
    const { nodes } = await api.listNodes()
    const node = nodes.find((one) => one.folder === folder)
    if (node === undefined) {
      throw usageError(`no node of the cluster has ${folder} as its folder`, 'name the folder of the node of this host')
    }
    const { name, id, zone } = node
    return { place: placeOf(flag), socketPath, name, id, zone }
  } finally {
    api.close()
  }
}

const placeOf = (flag: string | undefined): string => namedEndpoint(flag, process.env).place

/** Undefined: none, or of another place. What cannot be read is as none: the control API says it again. */
function remembered({ flag, stateFolder }: OwnNodeOptions): OwnNode | undefined {
  try {
    const node = JSON.parse(fs.readFileSync(path.join(stateFolder, FILE), 'utf8')) as OwnNode
    const isWhole = FIELDS.every((field) => typeof node[field] === 'string')
    return isWhole && node.place === placeOf(flag) ? node : undefined
  } catch {
    return undefined
  }
}

function remember(stateFolder: string, node: OwnNode): void {
  const file = path.join(stateFolder, FILE)
  fs.writeFileSync(`${file}.new`, `${JSON.stringify(node)}\n`, { mode: 0o600 })
  fs.renameSync(`${file}.new`, file)
}

/** Asks until it is told; each reason why not is logged once. Undefined: the process ends. */
async function askUntilTold({ flag, stateFolder, log, signal }: OwnNodeOptions): Promise<OwnNode | undefined> {
  for (let told = ''; !signal.aborted;) {
    try {
      const node = await askOwnNode(flag)
      remember(stateFolder, node)
      return node
    } catch (error) {
      // An endpoint that is no socket of this host never will be.
      if (!(error instanceof HoldfastError) || error.code === 'not-supported') throw error
      if (error.message !== told) log(`which node this is, is not known yet: ${error.message}`)
      told = error.message
    }
    await pause(AGAIN_MS, signal)
  }
  return undefined
}

/**
 * @param onOther  it is another one than was remembered: begin anew
 * @returns undefined: the process ends before it is known
 */
export async function ownNode(options: OwnNodeOptions, onOther: (node: OwnNode) => void): Promise<OwnNode | undefined> {
  const known = remembered(options)
  const asked = askUntilTold(options)
  if (known === undefined) return asked
  void asked.then((node) => {
    if (node !== undefined && FIELDS.some((field) => node[field] !== known[field])) onOther(node)
  }, (error: Error) => options.log(error.message))
  return known
}
