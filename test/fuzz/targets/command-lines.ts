/** Words and files that a person gives to commands. Promises: understood, or refused in words. */
import { parseNodes } from '../../../cli/dev-folder.ts'
import { parseWishedVolume } from '../../../cli/dev-volumes.ts'
import { COMMANDS, GLOBAL_OPTIONS } from '../../../cli/commands.ts'
import { isQcow2, otherFileOf, QCOW2_HEAD_BYTES } from '../../../cli/qcow2-header.ts'
import { parseArguments } from '../../../cli/arguments.ts'
import { parseListenAddress } from '../../../cluster/store/embedded/store-server.ts'
import { nodeConfigOf, parseDiskOption, parseDiskSize, parseTcpAddress } from '../../../dataplane/node-config.ts'
import type { NodeFlags } from '../../../dataplane/node-config.ts'
import { chosen, oneOf, refusable } from '../target.ts'
import type { Target } from '../target.ts'

const wordsOf = (bytes: Buffer): string[] => bytes.toString().split('\n')

const PARSERS = [parseDiskSize, parseTcpAddress, parseListenAddress, parseWishedVolume, parseNodes]

const image = Buffer.alloc(QCOW2_HEAD_BYTES)
image.write('QFI\xfb\0\0\0\x03', 'latin1')

const DECODERS = [
  (bytes: Buffer) => {
    if (bytes.length === 0) return
    const command = COMMANDS[bytes[0]! % COMMANDS.length]!
    const options = { ...command.options, ...GLOBAL_OPTIONS }
    const given = parseArguments(wordsOf(bytes.subarray(1)), { ...command, options }, 'help')
    for (const name of Object.keys(options)) given.texts(name)
  },
  (bytes: Buffer) => parseDiskOption(bytes.toString(), '/'),
  (bytes: Buffer) => {
    for (const word of wordsOf(bytes)) {
      for (const parse of PARSERS) refusable(() => parse(word))
    }
  },
  (bytes: Buffer) => {
    const [name, dir, tcp, workers, store, zone] = wordsOf(bytes)
    const flags = { name, dir, disks: ['path=/d,size=1Gi'], 'listen-tcp': tcp, workers, store, zone }
    nodeConfigOf(flags as unknown as NodeFlags)
  },
  (bytes: Buffer) => isQcow2(bytes) && otherFileOf(bytes),
] as const

export const target: Target = {
  parsers: [
    'cli/arguments.ts', 'cli/qcow2-header.ts', 'cli/dev-volumes.ts', 'dataplane/node-config.ts',
    'cluster/api/names.ts',
  ],
  seeds: () => [
    chosen(4, image),
    ...COMMANDS.map((_, index) => chosen(0, Buffer.from(`${String.fromCharCode(index)}v\n--size\n2Gi\n-o\njson`))),
    chosen(1, 'path=/dev/sdb,size=10Gi,pool=fast,tags=ssd+nvme'),
    chosen(2, '4Gi\n127.0.0.1:10809\n[::1]:1\nv:1Gi:2\n3'),
    chosen(3, 'n1\n/d\n10809\n2\nhttp://h:1\nz'),
  ],
  words: ['--', '--size', '--replicas', '=', ',path=', '\n', '--output', 'json', '--key-file', '1Gi'],
  execute: (input) => oneOf(input, DECODERS),
}
