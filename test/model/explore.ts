/** One search of the model, from its bounds to its result: what `npm run model` and the tests run. */
import { DEFAULT_BOUNDS, type Bounds } from './bounds.ts'
import { ReplicationModel } from './replication-model.ts'
import { search, type SearchResult } from './search.ts'

export function explore(
  bounds: Partial<Bounds>,
  statesMax: number,
  from: 'serving' | 'start' = 'serving',
): SearchResult {
  return search(new ReplicationModel({ ...DEFAULT_BOUNDS, ...bounds }, from), { statesMax })
}
