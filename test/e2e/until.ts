/** What tests of whole nodes wait for, and look for in what the API answers. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Volume } from '../../cluster/api/volume-messages.ts'

/** Ask until it is so; the file's deadline ends it else. */
export async function until<T>(ask: () => Promise<T>, isSo: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask()
    if (isSo(answer)) return answer
    await sleep(50)
  }
}

/** Its node. */
export const primaryOf = ({ copies }: Volume): string => copies.find(({ role }) => role === 'primary')!.node
