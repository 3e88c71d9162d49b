// What Holdfast relies on, held by the embedded store.
import t from 'tap'
import { callsSuite } from './calls-suite.ts'
import { addressesSuite, failureSuite } from './failure-suite.ts'
import { EMBEDDED, startStore } from './store-process.ts'
import type { StartStore } from './store-process.ts'
import { watchSuite } from './watch-suite.ts'
import { wireSuite } from './wire-suite.ts'

const start: StartStore = (t, port) => startStore(t, EMBEDDED, port)

t.test('wire', (t) => wireSuite(t, EMBEDDED))
t.test('calls', (t) => callsSuite(t, start))
t.test('watches', (t) => watchSuite(t, start))
t.test('failures', (t) => failureSuite(t, start))
t.test('several addresses', (t) => addressesSuite(t, start))
