// What Holdfast relies on, held by a real Kubernetes API.
// test-timeout-seconds: 600
import t from 'tap'
import { leftOut } from '../../kube/kube-binaries.ts'
import { callsSuite } from './calls-suite.ts'
import { failureSuite } from './failure-suite.ts'
import { startKubernetes } from './kube-process.ts'
import { watchSuite } from './watch-suite.ts'

const skip = leftOut('etcd', 'kube-apiserver')

t.test('calls', { skip }, (t) => callsSuite(t, startKubernetes))
t.test('watches', { skip }, (t) => watchSuite(t, startKubernetes))
t.test('failures', { skip }, (t) => failureSuite(t, startKubernetes))
