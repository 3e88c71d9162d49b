/**
 * What a test file is about, and how many minutes of `npm test` an area may take on two quiet processors: the whole of
 * it has to stay below forty. The first area whose words are in the path has the file.
 */
export interface Area {
  name: string
  /** Undefined: what the others leave. */
  minutesAllowed?: number
  words: RegExp
}

export const AREAS: readonly Area[] = [
  { name: 'Kubernetes', minutesAllowed: 8, words: /^test\/(csi|kernel)\/|kubernetes/ },
  {
    name: 'security',
    minutesAllowed: 3,
    words: new RegExp([
      '^test/(access|fuzz)/', '^test/cluster/(tls|keys)/', '/cipher/', 'encrypt', 'rekey', 'kms', 'tls', 'secure',
      'canary', 'secrecy', 'strangers', 'storms', 'bad-input', 'audit', 'openbao', 'access-',
    ].join('|')),
  },
  {
    name: 'time travel and healing',
    minutesAllowed: 4,
    words: new RegExp([
      'snapshot', '/(?!fresh-)[a-z-]*clone', 'rollback', 'time-travel', 'group', 'schedule', 'shrink', 'resize',
      // What a damaged sector of one node's disk does to its structures is the store's.
      'hydration', 'scrub', '^(?!test/(crash|engine/level)/).*damage', 'headless', 'deep-walk', 'last-loss',
      'compression', 'lz4', 'exclusive-bytes',
      'volume-limits', 'volume-fairness', 'token-bucket', 'qos', 'turn-shares', 'block-rewriter', 'volume-images',
      'import-parts', 'copy-images', 'sim/cluster/volumes', 'volume/views', 'volume/one-pass',
    ].join('|')),
  },
  { name: 'everything else', words: /(?:)/ },
]

export const areaOf = (path: string): Area => AREAS.find(({ words }) => words.test(path))!
