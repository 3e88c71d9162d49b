/** `holdfast dev kill|stop|start NODE`. */
import { HoldfastError } from '../engine/errors.ts'
import type { Run } from './command.ts'
import { askDev } from './dev-socket.ts'
import type { DevWord } from './dev-socket.ts'
import { EXIT_OK } from './output.ts'

export const DEV_DIR_DEFAULT = '.holdfast'

const SENTENCES: Record<DevWord, string> = {
  kill: 'is down, killed as a dead host; `holdfast dev start` brings it back',
  stop: 'is down, stopped cleanly; `holdfast dev start` brings it back',
  start: 'is up',
}

export function devControl(word: DevWord): Run {
  return async ({ arguments: given, output }) => {
    const node = given.positionals[0]!
    const state = await askDev(given.text('dir') ?? DEV_DIR_DEFAULT, { word, node }, (why) => output.note(why))
    if (word === 'start' && state.state === 'down') {
      throw new HoldfastError('node-down', { name: node, reason: 'it ended while starting' })
    }
    output.result(state, () => [`node ${state.node} ${SENTENCES[word]}`])
    return EXIT_OK
  }
}
