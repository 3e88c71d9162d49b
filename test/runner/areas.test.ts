/** Which area has a file, and what is printed of areas. */
import t from 'tap'
import { areaOf } from './areas.ts'
import { areaLines } from './listing.ts'

t.test('the first area whose words are in the path has the file', (t) => {
  const areas = {
    'test/csi/proto.test.ts': 'Kubernetes',
    'test/e2e/tls.test.ts': 'security',
    'test/cluster/keys/openbao.test.ts': 'security',
    'test/e2e/clones.test.ts': 'time travel and healing',
    'test/sim/cluster/volumes.test.ts': 'time travel and healing',
    'test/dataplane/meters/damaged-reads.test.ts': 'time travel and healing',
    'test/crash/damaged-sectors.test.ts': 'everything else',
    'test/e2e/fresh-clone.test.ts': 'everything else',
    'test/engine/units.test.ts': 'everything else',
  }
  for (const [path, name] of Object.entries(areas)) t.equal(areaOf(path).name, name, path)
  t.end()
})

t.test('a line an area, with what it may take', (t) => {
  const lines = areaLines(['test/e2e/clones.test.ts', 'test/e2e/scrub.test.ts', 'test/e2e/new.test.ts'], {
    'test/e2e/clones.test.ts': { seconds: 30, partSeconds: 12 },
    'test/e2e/scrub.test.ts': { seconds: 60, partSeconds: 18 },
  })
  t.match(lines[3], /^time travel and healing {6}2 {14}90 {4}0\.5 of 4$/)
  t.match(lines[4], /^everything else {14}1 {15}0 {4}0\.0$/)
  t.end()
})
