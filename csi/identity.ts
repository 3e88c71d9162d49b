/** Who this is (CSI Identity), the same of both processes but for what else they serve. */
import { csiService } from './definition.ts'
import { refusalOf } from './refusal.ts'
import type { CsiService } from './server.ts'

export const DRIVER_NAME = 'csi.holdfast.io'

type PluginService =
  | 'CONTROLLER_SERVICE' | 'VOLUME_ACCESSIBILITY_CONSTRAINTS' | 'GROUP_CONTROLLER_SERVICE' | 'SNAPSHOT_METADATA_SERVICE'

const SERVICES: readonly PluginService[] = [
  'CONTROLLER_SERVICE', 'VOLUME_ACCESSIBILITY_CONSTRAINTS', 'GROUP_CONTROLLER_SERVICE', 'SNAPSHOT_METADATA_SERVICE',
]

export interface IdentityOptions {
  version: string
  /** Resolves when what this process needs answers. @throws CsiRefusal, HoldfastError else: it is not ready */
  probe(): Promise<unknown>
  /** Why it is not ready. */
  log(line: string): void
}

export function identityService({ version, probe, log }: IdentityOptions): CsiService {
  return {
    definition: csiService('Identity'),
    calls: {
      GetPluginInfo: async () => ({ name: DRIVER_NAME, vendorVersion: version, manifest: {} }),
      GetPluginCapabilities: async () => ({
        capabilities: [
          ...SERVICES.map((type) => ({ service: { type } })),
          { volumeExpansion: { type: 'ONLINE' } },
        ],
      }),
      // Not an error: for the standard's callers that is the end, and this passes.
      Probe: async () => {
        try {
          await probe()
          return { ready: { value: true } }
        } catch (error) {
          const refusal = refusalOf(error)
          if (refusal === undefined) throw error
          log(`not ready: ${refusal.message}`)
          return { ready: { value: false } }
        }
      },
    },
  }
}
