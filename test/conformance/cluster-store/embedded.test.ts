// What Holdfast relies on, held by the embedded store.
import t from 'tap'
import { callsSuite } from './calls-suite.ts'
import { failureSuite } from './failure-suite.ts'
import { EMBEDDED } from './store-process.ts'
import { watchSuite } from './watch-suite.ts'
import { wireSuite } from './wire-suite.ts'

t.test('wire', (t) => wireSuite(t, EMBEDDED))
t.test('calls', (t) => callsSuite(t, EMBEDDED))
t.test('watches', (t) => watchSuite(t, EMBEDDED))
t.test('failures', (t) => failureSuite(t, EMBEDDED))
