/**
 * What a host says to its device keeper: the kernel by netlink and in mountinfo, the data process in the handshake of
 * an attachment, and the keeper's own table; and what `qemu-img` says of an image. Promises: what does not add up is
 * left out or refused in words; what is taken is whole, and fits what is made of it.
 */
import { assert } from '../../../engine/assert.ts'
import { decodeEntry } from '../../../csi/host/device-table.ts'
import { mountAt, mountsOf, parseMountinfo } from '../../../csi/host/mountinfo.ts'
import { familyOf } from '../../../csi/host/generic-netlink.ts'
import { dataBytesOf, virtualSizeOf } from '../../../cli/qemu-img-answers.ts'
import { ClientHandshake } from '../../../csi/host/nbd-handshake.ts'
import { connectAttributes, deadLink, NBD_CMD_LINK_DEAD } from '../../../csi/host/nbd-netlink.ts'
import {
  decodeAttributes, decodeMessages, encodeMessage, errnoOf, listAttributes, nested, text, textOf, u16Of, u32, u32Of,
} from '../../../csi/host/netlink-attributes.ts'
import { chosen, oneOf } from '../target.ts'
import type { Target } from '../target.ts'

const ID = '22'.repeat(16)

function handshake(bytes: Buffer): void {
  const [whole, parts] = [new ClientHandshake(), new ClientHandshake()]
  const first = whole.feed(bytes)
  // An option is sent after the greeting, and what came behind that is read on.
  const last = first.type === 'send' ? whole.feed(Buffer.alloc(0)) : first
  let step = parts.feed(Buffer.alloc(0))
  for (let at = 0; at < bytes.length && (step.type === 'more' || step.type === 'send'); at++) {
    step = parts.feed(bytes.subarray(at, at + 1))
  }
  if (last.type === 'over' || last.type === 'refused') assert(step.type === last.type, 'every split says the same')
  if (last.type === 'refused') assert(/^[\x20-\x7e]{1,200}$/.test(last.reason), 'why not is one line, and not long')
  if (last.type !== 'over') return
  const { facts } = last
  assert(Number.isSafeInteger(facts.sizeBytes) && facts.blockSizeBytes >= 512, 'a size is a number')
  const limits = { requestSeconds: 5, deadConnectionSeconds: 600, backend: 'b', sockets: [3] }
  const told = Buffer.concat(connectAttributes({ ...facts, ...limits }))
  assert(decodeAttributes(told) !== undefined, 'the kernel is told')
}

const DECODERS = [
  (bytes: Buffer) => {
    for (const message of decodeMessages(bytes)) {
      const errno = errnoOf(message)
      assert(errno === undefined || Number.isInteger(errno), 'an error is a number')
      const attributes = decodeAttributes(message.payload.subarray(4))
      if (attributes === undefined) continue
      deadLink({ command: message.payload[0] ?? 0, attributes })
      for (const value of attributes.values()) {
        u32Of(value)
        u16Of(value)
        assert(!textOf(value).includes('\0'), 'a text ends at its zero byte')
        for (const [, item] of listAttributes(value) ?? []) decodeAttributes(item)
      }
    }
  },
  (bytes: Buffer) => {
    const mounts = parseMountinfo(bytes.toString())
    for (const { mountPoint, device, options } of mounts) {
      assert(mountAt(mountPoint, mounts)?.mountPoint === mountPoint && options.length > 0, 'what is listed is found')
      assert(mountsOf(device, mounts).length > 0, 'by its device too')
    }
  },
  handshake,
  (bytes: Buffer) => {
    const entry = decodeEntry(bytes.toString(), `${ID}.json`)
    assert(entry.volumeId === ID && entry.mounts.every((mount) => typeof mount.path === 'string'), 'an entry is whole')
  },
  (bytes: Buffer) => {
    const attributes = decodeAttributes(bytes)
    const family = attributes === undefined ? undefined : familyOf(attributes)
    for (const [name, id] of family?.groups ?? []) {
      assert(!name.includes('\0') && Number.isInteger(id), 'a group is whole')
    }
  },
  (bytes: Buffer) => assert(Number.isSafeInteger(virtualSizeOf('i', bytes.toString())), 'a size is a number'),
  (bytes: Buffer) => assert(Number.isSafeInteger(dataBytesOf('i', bytes.toString())), 'bytes are a number'),
] as const

const greeting = Buffer.from('4e42444d41474943' + '49484156454f5054' + '0003', 'hex')
function reply(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(20)
  head.writeBigUInt64BE(0x3e889045565a9n, 0)
  head.writeUInt32BE(7, 8)
  head.writeUInt32BE(type, 12)
  head.writeUInt32BE(data.length, 16)
  return Buffer.concat([head, data])
}
const sizeInfo = reply(3, Buffer.from('0000' + '0000000040000000' + '006d', 'hex'))
const blockInfo = reply(3, Buffer.from('0003' + '00000001' + '00001000' + '02000000', 'hex'))
const told = (payload: Buffer): Buffer => encodeMessage({ type: 30, sequence: 1, payload }, 0)
const entry = {
  version: 1, volumeId: ID, generation: 3, mode: 'single', state: 'attached', device: { kind: 'nbd', index: 0 },
  backend: 'b', sizeBytes: 4096, blockSizeBytes: 512, readOnly: false, connections: 2, deadConnectionMs: 1, socket: 's',
  mounts: [],
}

export const target: Target = {
  parsers: [
    'csi/host/netlink-attributes.ts', 'csi/host/mountinfo.ts', 'csi/host/nbd-handshake.ts', 'csi/host/device-table.ts',
    'cli/qemu-img-answers.ts',
  ],
  seeds: () => [
    chosen(0, told(Buffer.concat([Buffer.of(NBD_CMD_LINK_DEAD, 1, 0, 0), u32(1, 5)]))),
    chosen(0, told(Buffer.concat([Buffer.of(5, 1, 0, 0), nested(9, [nested(1, [u32(1, 5), text(2, 'x')])])]))),
    chosen(0, encodeMessage({ type: 2, sequence: 1, payload: Buffer.alloc(4, 0xff) }, 0)),
    chosen(1, '36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n'),
    chosen(1, '40 35 43:0 / /var/lib/kubelet/x ro - ext4 /dev/nbd0 ro\n41 40 43:0 / /x rw - ext4 /dev/nbd0 rw\n'),
    chosen(2, Buffer.concat([greeting, sizeInfo, blockInfo, reply(1, Buffer.alloc(0))])),
    chosen(2, Buffer.concat([greeting, reply(0x80000006, Buffer.from('export unknown'))])),
    chosen(3, JSON.stringify(entry)),
    chosen(4, Buffer.concat([text(2, 'nbd'), nested(7, [nested(1, [text(1, 'nbd_mc_group'), u32(2, 5)])])])),
    chosen(4, Buffer.from('0600010019000000', 'hex')),
    chosen(5, '{"virtual-size": 1048576, "format": "qcow2"}'),
    chosen(6, '[{"start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true}]'),
  ],
  words: [' - ', '\\040', '43:0', '"mounts":[', '"path":', 'attaching'],
  execute: (input) => oneOf(input, DECODERS),
}
