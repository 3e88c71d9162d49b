/** Nodes of the cluster: `nodes/<name>`, written by the node when it starts. */
import type { NodeRecord } from '../../engine/control/node-status.ts'
import { isText } from '../../engine/value-shape.ts'
import { encodeJson, isNode, parseRecord } from './json-value.ts'

export const NODE_PREFIX = 'nodes/'

export const nodeKey = (name: string): string => `${NODE_PREFIX}${name}`

export interface RegisteredNode extends NodeRecord {
  /** Of its folder, so that another node under the same name is noticed. */
  nodeId: string
}

export const encodeNode = (node: RegisteredNode): Uint8Array => encodeJson(node)

/** Undefined when it is not the record of that node. */
export function decodeNode(name: string, value: Uint8Array): RegisteredNode | undefined {
  const found = parseRecord(value)
  if (found === undefined || found.name !== name || !isNode(name)) return undefined
  if (!isText(found.nodeId) || !isText(found.zone)) return undefined
  return { name, nodeId: found.nodeId, zone: found.zone }
}
