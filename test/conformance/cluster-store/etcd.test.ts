// What Holdfast relies on, held by etcd.
import t from 'tap'
import { callsSuite } from './calls-suite.ts'
import { failureSuite } from './failure-suite.ts'
import { ETCD, etcdMissing } from './store-process.ts'
import { watchSuite } from './watch-suite.ts'
import { wireSuite } from './wire-suite.ts'

const skip = etcdMissing()

t.test('wire', { skip }, (t) => wireSuite(t, ETCD))
t.test('calls', { skip }, (t) => callsSuite(t, ETCD))
t.test('watches', { skip }, (t) => watchSuite(t, ETCD))
t.test('failures', { skip }, (t) => failureSuite(t, ETCD))
