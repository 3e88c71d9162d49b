/** The index suite on `level`. */
import path from 'node:path'
import t from 'tap'
import { openLevelIndex } from '../../../dataplane/disk/level-index.ts'
import { indexSuite, type IndexUnderTest } from './suite.ts'

const dir = t.testdir()
let count = 0

async function open(folder: string): Promise<IndexUnderTest> {
  const opening = await openLevelIndex(folder)
  if (opening.kind !== 'open') throw new Error(opening.kind)
  const { index } = opening
  return {
    index,
    drive: () => {},
    reopen: async () => {
      await index.close()
      return open(folder)
    },
    close: () => index.close(),
  }
}

indexSuite(t, 'level', () => open(path.join(dir, `index-${count++}`)))
