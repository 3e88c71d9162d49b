/**
 * docs/access.md: who may call what, as it was found by asking for everything as everybody. Written by
 *
 *   bin/node24 --dev test/access/access-page.ts
 *
 * and compared with what is found by access.test.ts, so that a right which somebody gains is seen by a reader.
 */
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import type { Test } from 'tap'
import { askApi, askFields, askStore } from './grpc-access.ts'
import { askExtender, askHttp, askNbd } from './open-access.ts'
import { askPeer } from './peer-access.ts'
import { linesOf } from './table.ts'
import type { Table } from './table.ts'

export const ACCESS_PAGE = path.resolve(import.meta.dirname, '../../docs/access.md')

export const pageOf = (tables: readonly Table[]): string => [
  '# Who may call what',
  '',
  'Written by `test/access/access-page.ts`, which asks for everything there is as everybody;',
  '`test/access/access.test.ts` does it again and compares. What each role is for stands in [tls.md](tls.md).',
  '',
  '| cell | means |',
  '|---|---|',
  '| `closed` | the connection was closed before a byte of what was asked was read |',
  '| `PERMISSION_DENIED`, `UNAUTHENTICATED`, `TLS_REQD` | answered so before what was asked was read |',
  '| `yes`, `open` | it was answered |',
  '',
  'Not good are: no certificate, one of another CA that names our cluster, one that has expired, one for servers only,',
  'one of our CA for another cluster, one of our CA that names nobody. No good token: no token, one with another',
  'secret, of another cluster, expired, revoked, of another scheme; each alone and beside the certificate of an admin.',
  '',
  ...tables.flatMap(linesOf),
].join('\n').trimEnd() + '\n'

if (import.meta.main) {
  const ends: Array<() => unknown> = []
  const t = { teardown: (end: () => unknown) => void ends.unshift(end) } as unknown as Test
  const tables = [
    (await askApi(t)).table, (await askFields(t)).table, await askStore(t), await askPeer(t), await askNbd(t),
    await askHttp(t), await askExtender(t),
  ]
  writeFileSync(ACCESS_PAGE, pageOf(tables))
  for (const end of ends) await end()
}
