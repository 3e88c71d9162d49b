/**
 * What a Kubernetes API answers: lists, objects and streams of changes, and a kubeconfig that says where it is.
 * Promises: a stream tells changes or why it ends, once, however it is cut into pieces; an entry is under its own key;
 * a certificate request that is ours is whole.
 */
import { EventEmitter } from 'node:events'
import { assert } from '../../../engine/assert.ts'
import type { ApiClient } from '../../../cluster/kubernetes/api-client.ts'
import { parsed } from '../../../cluster/kubernetes/api-client.ts'
import { watchApi } from '../../../cluster/kubernetes/api-watch.ts'
import type { ApiEvent, WatchEnd } from '../../../cluster/kubernetes/api-watch.ts'
import { entryOf, objectName, objectOf, resourceVersionOf } from '../../../cluster/store/kube-records.ts'
import { certificateRequestOf } from '../../../csi/kube/certificates/certificate-requests.ts'
import { nodeNameOf } from '../../../csi/kube/node-name.ts'
import { isName } from '../../../cluster/api/names.ts'
import { chosen } from '../target.ts'
import type { Target } from '../target.ts'

/** A stream that is open, with what it says. */
class FakeResponse extends EventEmitter {
  readonly statusCode: number

  constructor(statusCode: number) {
    super()
    this.statusCode = statusCode
  }
}

/** What a watch tells of a stream, which comes in pieces of so many bytes. */
async function watched(bytes: Buffer, statusCode: number, pieceBytes: number): Promise<string> {
  const response = new FakeResponse(statusCode)
  const client = { open: () => Promise.resolve({ ok: true, response }) } as unknown as ApiClient
  const told: string[] = []
  let ends = 0
  const onEvent = ({ type, object }: ApiEvent): void => {
    assert(ends === 0, 'nothing is told after the end')
    const entry = entryOf(object)
    if (entry !== undefined) checkEntry(entry.key, entry.value)
    told.push(`${type} ${resourceVersionOf(object)} ${entry?.key}`)
  }
  const onEnd = (end: WatchEnd): void => {
    ends++
    told.push(JSON.stringify(end))
  }
  watchApi(client, { path: '/x', resourceVersion: '1', onEvent, onEnd })
  await Promise.resolve()
  await Promise.resolve()
  if (statusCode === 200) {
    for (let at = 0; at < bytes.length; at += pieceBytes) response.emit('data', bytes.subarray(at, at + pieceBytes))
  }
  response.emit('close')
  assert(ends === 1, 'a stream ends once')
  return told.join('\n')
}

function checkEntry(key: string, value: Uint8Array): void {
  const object = objectOf(key, value, undefined)
  const again = entryOf({ ...object, metadata: { name: objectName(key), uid: 'u', resourceVersion: '1' } })
  assert(again?.key === key && Buffer.from(value).equals(again.value), 'an entry is read as it is put')
}

function objects(body: Record<string, unknown> | undefined): void {
  for (const item of Array.isArray(body?.items) ? (body.items as unknown[]) : [body]) {
    const request = certificateRequestOf(item)
    if (request !== undefined) {
      const { name, username, nodeName, request: pem, usages, refusal, certificate } = request
      const texts = [name, username, nodeName, pem, ...usages, refusal, certificate]
      assert(texts.every((text) => typeof text === 'string'), 'what is read of a request are texts')
    }
    if (typeof item === 'object' && item !== null) {
      const entry = entryOf(item as Record<string, unknown>)
      if (entry !== undefined) checkEntry(entry.key, entry.value)
    }
  }
}

/** As Kubernetes names its nodes (RFC 1123). */
const NODE = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/

function nodeName(text: string): void {
  if (!NODE.test(text)) return
  const name = nodeNameOf(text)
  assert(isName(name) && nodeNameOf(text) === name, 'a node has a name of ours, always the same')
  assert(name === text || nodeNameOf(name) !== name, 'and shares it with none')
}

const record = {
  ...objectOf('volumes/1', Buffer.from('x'), undefined),
  metadata: { name: objectName('volumes/1'), uid: 'u', resourceVersion: '7' },
}
const line = (type: string, object: object): string => `${JSON.stringify({ type, object })}\n`
const signing = {
  metadata: { name: 'holdfast-1' },
  spec: {
    signerName: 'holdfast.io/node', username: 'system:serviceaccount:h:node', request: 'QUJD', usages: ['client auth'],
    extra: { 'authentication.kubernetes.io/node-name': ['n1'] },
  },
  status: { conditions: [{ type: 'Approved' }, { type: 'Denied', message: 'no' }], certificate: 'QUJD' },
}

export const target: Target = {
  parsers: [
    'cluster/kubernetes/api-watch.ts', 'cluster/store/kube-records.ts', 'csi/kube/certificates/certificate-requests.ts',
    'csi/kube/node-name.ts',
  ],
  seeds: () => [
    chosen(0, line('ADDED', record) + line('BOOKMARK', { metadata: { resourceVersion: '9' } })),
    chosen(0, line('DELETED', record) + line('ERROR', { code: 410 })),
    chosen(0, `${line('MODIFIED', { metadata: {} })}{"type":`),
    chosen(1, ''), chosen(2, ''),
    chosen(3, JSON.stringify({ items: [record, signing] })), chosen(3, JSON.stringify(signing)),
    chosen(4, 'node-1.example.com'), chosen(4, 'n1-0123456789abcdef'), chosen(4, 'n1'),
  ],
  words: ['"type":', '"ADDED"', '"object":', '"metadata":', '"resourceVersion":', '"spec":', '\n', 'é'],
  async execute(input) {
    if (input.length === 0) return
    const bytes = Buffer.from(input.subarray(1))
    switch (input[0]! % 5) {
      case 0: {
        const whole = await watched(bytes, 200, Math.max(1, bytes.length))
        return assert(await watched(bytes, 200, 3) === whole, 'every split says the same')
      }
      case 1: return void await watched(bytes, 410, 1)
      case 2: return void await watched(bytes, 500, 1)
      case 3: return objects(parsed(bytes.toString()))
      default: return nodeName(bytes.toString())
    }
  },
}
