/** Risk: a small cluster of which more is expected than it can keep; a witness that is none. */
import t from 'tap'
import { LONE_NODE, limitsOf } from '../../../cluster/api/cluster-limits.ts'

const nodes = (...hosts: string[]) => hosts.map((host, index) => ({ name: `n${index + 1}`, address: `${host}:7` }))

t.test('one node, two nodes, and where the store is', async (t) => {
  t.same(limitsOf([], 'http://a:1'), [])
  t.same(limitsOf(nodes('a'), 'http://b:1'), [LONE_NODE])
  const [witness, ...more] = limitsOf(nodes('a', 'b'), 'http://c:1')
  t.same(more, [])
  t.match(witness, /elsewhere as a witness: either may be lost and the other goes on, without a copy to spare/)
  const [beside] = limitsOf(nodes('a', 'b'), 'http://b:1')
  t.match(beside, /on the host of n2: when that host is lost, I\/O .* is held until .*; keep it elsewhere/)
  t.match(limitsOf(nodes('127.0.0.1', '127.0.0.1'), 'http://localhost:1'), [/on one host \(127\.0\.0\.1\): either may/])
  t.match(limitsOf([{ name: 'n1', address: '' }, ...nodes('a')], 'http://c:1'), [/witness/], 'who is not known')
})

t.test('three nodes and more', async (t) => {
  t.same(limitsOf(nodes('a', 'b', 'c'), 'http://d:1'), [])
  t.same(limitsOf(nodes('a', 'a', 'a'), 'http://a:1'), [], 'one machine, for trying out')
  t.same(limitsOf(nodes('a', 'b', 'c'), 'http://a:1,http://b:1,http://c:1'), [], 'a member of the store on each')
  const most = 'http://b:1,http://b:2,http://a:1'
  t.match(limitsOf(nodes('a', 'b', 'b'), most), [/the cluster store is on the host of n2, n3/], 'most of its members')
  t.match(limitsOf(nodes('a', 'b', '[::1]'), 'http://[::1]:1'), [/on the host of n3: /])
})
