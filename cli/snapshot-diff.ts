/** `holdfast snapshot diff`: ranges of a volume, a line each as they come, so that a script may read them at once. */
import { once } from 'node:events'
import { formatSize } from '../cluster/api/amounts.ts'
import { diffSnapshots, KIND_NAMES } from '../cluster/api/snapshot-diff.ts'
import type { Invocation } from './command.ts'
import { endpointOf } from './endpoint.ts'
import { EXIT_OK } from './output.ts'

export async function showDifference({ arguments: given, output }: Invocation): Promise<number> {
  const [volume, first, second] = given.positionals as [string, string, string | undefined]
  const endpoint = await endpointOf(given)
  const request = { volume, snapshot: second ?? first, since: second === undefined ? '' : first }
  let ranges = 0
  let bytes = 0
  for await (const { offsetBytes, lengthBytes, kinds } of diffSnapshots(endpoint, request)) {
    const lines = offsetBytes.map((offset, i) => {
      const [length, kind] = [lengthBytes[i]!, KIND_NAMES[kinds[i]!] ?? 'data']
      bytes += length
      if (output.json) return JSON.stringify({ offsetBytes: offset, lengthBytes: length, kind })
      return `${offset} ${length} ${kind}`
    })
    ranges += lines.length
    if (!process.stdout.write(`${lines.join('\n')}\n`)) await once(process.stdout, 'drain')
  }
  const what = second === undefined ? `snapshot ${first} of volume ${volume} holds` : 'the difference is'
  if (!output.json) process.stderr.write(`${what} ${formatSize(bytes)} in ${ranges} range(s)\n`)
  return EXIT_OK
}
