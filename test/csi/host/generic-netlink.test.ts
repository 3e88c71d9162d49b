/** Risk: what another process sends to our netlink socket is taken for an answer of the kernel. */
import koffi from 'koffi'
import t from 'tap'
import { addressOf, closeFd } from '../../../cluster/libc.ts'
import { GenericNetlink, GroupListener } from '../../../csi/host/generic-netlink.ts'
import { encodeMessage } from '../../../csi/host/netlink-attributes.ts'

const AF_NETLINK = 16
const lib = koffi.load(null)
const callSocket = lib.func('int socket(int domain, int type, int protocol)')
const callSendto = lib.func(
  'int64_t sendto(int fd, uint64_t bytes, size_t length, int flags, uint64_t to, uint32_t toLength)')

const own = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes)

/** To the first netlink socket of this process, whose port is its id. @returns whether that may be done here */
function forge(payload: Buffer): boolean {
  const fd = callSocket(AF_NETLINK, 3, 16) as number
  const message = own(encodeMessage({ type: 2, sequence: 1, payload }, 0))
  const to = new Uint32Array([AF_NETLINK, process.pid, 0])
  const sent = callSendto(fd, addressOf(message), message.length, 0, addressOf(new Uint8Array(to.buffer)), 12) as number
  closeFd(fd)
  return sent === message.length
}

t.test('answers are the kernel\'s, and a family is found with its groups', (t) => {
  const netlink = GenericNetlink.open()
  if (typeof netlink === 'number') throw new Error(`no netlink socket: ${netlink}`)
  t.comment(`a forged answer was ${forge(Buffer.alloc(20)) ? 'sent' : 'refused'}`)
  const family = netlink.family('nlctrl')
  t.equal(family?.id, 16)
  t.ok(family!.groups.has('notify'))
  t.equal(netlink.family('none-of-that-name'), undefined)
  const listener = new GroupListener(family!, 'notify')
  t.same(listener.take(), { told: [], isWhole: true })
  listener.close()
  netlink.close()
  t.end()
})
