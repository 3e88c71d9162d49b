/** What the control API knows of a volume whose device looks blank: whether a file system may be made (SPEC.md S4). */
import type { ControlClient } from '../cluster/api/client.ts'
import type { Volume } from '../cluster/api/volume-messages.ts'
import { pause } from '../cluster/pause.ts'
import { HoldfastError } from '../engine/errors.ts'

/** Whoever leads a volume tells of it each second, also of another epoch. */
const TELLS_MS = 3000
const LOOK_EVERY_MS = 200

/**
 * @param name  of the volume, or its id
 * @returns what is held, as a part of a sentence; undefined: nothing was ever written
 * @throws HoldfastError `content-unknown`, and of the call
 */
export async function heldData(api: Pick<ControlClient, 'getVolume'>, name: string): Promise<string | undefined> {
  let volume: Volume
  for (const untilMs = performance.now() + TELLS_MS; ; await pause(LOOK_EVERY_MS)) {
    volume = await api.getVolume({ name })
    if (volume.holds !== '' || performance.now() > untilMs) break
  }
  switch (volume.holds) {
    case 'nothing': return undefined
    case 'data': return 'data that is no file system'
    case 'shared': return 'what the volume holds that it is a clone of, as far as that is known '
      + `(after \`holdfast volume hydrate ${volume.name}\` it is)`
    // Also of a node of a former version, which does not tell it.
    default: throw new HoldfastError('content-unknown', { volume: volume.name })
  }
}
