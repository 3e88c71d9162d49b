/**
 * Bugs that are planted by tests of their own, each of which hunts a list of them: what they catch belongs into the one
 * table, too. Run as they are; which of their bugs were found their own lines say.
 */
import { PLANTED as STORE } from '../checker/planted-bugs.ts'
import { runTestFile } from '../mutant-file.ts'

export interface List {
  what: string
  path: string
  /** Titles of the tests in it that hunt a bug. */
  isHunt(title: string): boolean
}

const isStore = new Set(STORE.map(({ name }) => name))
const ofControl = /\((?:I|[A-Z])\d+[^)]*\)$/

export const ELSEWHERE: readonly List[] = [
  { what: 'the store of one node', path: 'test/sim/mutants.test.ts', isHunt: (title) => isStore.has(title) },
  {
    what: 'clones in one store, against a model',
    path: 'test/engine/volume/clone-model.test.ts',
    isHunt: (title) => title.startsWith('found: '),
  },
  {
    what: 'copies that are erased, several volumes',
    path: 'test/sim/cluster/volumes.test.ts',
    isHunt: (title) => !/^(which seeds|no checker)/.test(title),
  },
  {
    what: 'holds of group snapshots',
    path: 'test/engine/replication/hold-order.test.ts',
    isHunt: (title) => /hold/.test(title) && !/^(without|no |runs)/.test(title),
  },
  {
    what: 'group snapshots that are undone',
    path: 'test/cluster/reconcile/group-planted-bugs.test.ts',
    isHunt: (title) => title.startsWith('planted: '),
  },
  {
    what: 'encrypted blocks and wrapped keys',
    path: 'test/dataplane/frontend/encryption-planted-bugs.test.ts',
    isHunt: (title) => title.startsWith('planted: '),
  },
  { what: 'the control plane', path: 'test/control/mutants.test.ts', isHunt: (title) => ofControl.test(title) },
  {
    what: 'the cluster store and its client',
    path: 'test/conformance/cluster-store/planted-bugs.test.ts',
    isHunt: (title) => !title.endsWith('passes without a bug'),
  },
  {
    what: 'stages and publishes on a host that are cut off',
    path: 'test/csi/node/planted-bugs.test.ts',
    isHunt: (title) => title !== 'as it is',
  },
]

export interface Caught {
  list: List
  caught: string[]
  missed: string[]
}

/** @param seconds  of a processor that it may take */
export function runList(list: List, seconds: number): Caught {
  const found: Caught = { list, caught: [], missed: [] }
  for (const [, no, title = ''] of runTestFile(list.path, undefined, seconds).out.matchAll(TITLE)) {
    if (list.isHunt(title)) (no === undefined ? found.caught : found.missed).push(title)
  }
  return found
}

/** Of a test in the file itself, not of one within it. */
const TITLE = /^(not )?ok \d+ - (.*?)(?: #.*| \{)?$/gm

export function elsewhereLines(all: readonly Caught[]): string[] {
  return [
    'Planted by tests of their own, which were run with this table:',
    '',
    '| bugs of | caught | by |',
    '|---|---|---|',
    ...all.map(({ list, caught, missed }) => {
      const not = missed.length === 0 ? '' : `; **not**: ${missed.join(', ')}`
      return `| ${list.what} | ${caught.length} of ${caught.length + missed.length}${not} | \`${list.path}\` |`
    }),
  ]
}
