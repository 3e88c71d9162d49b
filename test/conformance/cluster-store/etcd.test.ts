// What Holdfast relies on, held by etcd.
import t from 'tap'
import { callsSuite } from './calls-suite.ts'
import { addressesSuite, failureSuite } from './failure-suite.ts'
import { ETCD, etcdMissing, startStore } from './store-process.ts'
import type { StartStore } from './store-process.ts'
import { watchSuite } from './watch-suite.ts'
import { wireSuite } from './wire-suite.ts'

const skip = etcdMissing()

const start: StartStore = (t, port) => startStore(t, ETCD, port)

t.test('wire', { skip }, (t) => wireSuite(t, ETCD))
t.test('calls', { skip }, (t) => callsSuite(t, start))
t.test('watches', { skip }, (t) => watchSuite(t, start))
t.test('failures', { skip }, (t) => failureSuite(t, start))
t.test('several addresses', { skip }, (t) => addressesSuite(t, start))
