/** Certificates for tests: a CA of a cluster in a folder of the test's, and what it issues. */
import path from 'node:path'
import type { Test } from 'tap'
import { initAuthority, issue } from '../../../cli/ca-folder.ts'
import type { IssueWish } from '../../../cli/ca-folder.ts'
import { TlsFolder } from '../../../cluster/tls/tls-folder.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

export class TestCa {
  readonly dir: string
  readonly clusterId: string

  constructor(t: Pick<Test, 'teardown'>, clusterId?: string) {
    this.dir = temporaryFolder(t)
    this.clusterId = initAuthority(this.dir, { clusterId, days: 2 }).clusterId
  }

  /** A TLS folder. */
  issue(wish: Pick<IssueWish, 'role' | 'name'> & Partial<IssueWish>): string {
    const out = path.join(this.dir, `${wish.role}-${wish.name}`)
    issue(this.dir, { dns: [], ip: ['127.0.0.1'], days: 1, out, ...wish })
    return wish.out ?? out
  }

  folder(wish: Pick<IssueWish, 'role' | 'name'> & Partial<IssueWish>): TlsFolder {
    return new TlsFolder(this.issue(wish))
  }
}
