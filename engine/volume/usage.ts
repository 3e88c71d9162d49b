/** What a volume takes on the disks of this node. To be shown: what nobody has folded yet is looked at for it. */
import type { Usage } from '../log/extent-map.ts'
import type { Target } from './block-reader.ts'

export function usageOf(targets: readonly Target[]): Usage {
  const usage: Usage = { storedBytes: 0, logicalBytes: 0 }
  for (const { stream, map } of targets) {
    const one = stream.map.usage(map)
    usage.storedBytes += one.storedBytes
    usage.logicalBytes += one.logicalBytes
  }
  return usage
}
