/**
 * How a process proves itself to the cluster store: with its own TLS folder, or, where that store has another CA (an
 * etcd that is there anyhow), with a folder of the same three files in it:
 *
 *   DIR/{ca.crt, tls.crt, tls.key}   DIR/store/{ca.crt, tls.crt, tls.key}
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import { wishForStore } from './tls-connect.ts'
import type { SecureWish } from './tls-connect.ts'
import { TlsFolder } from './tls-folder.ts'

export class StoreTls {
  readonly folder: TlsFolder
  readonly #isOurCa: boolean

  /** @throws HoldfastError `tls-files` */
  constructor(own: TlsFolder) {
    const other = path.join(own.dir, 'store')
    this.#isOurCa = !existsSync(other)
    this.folder = this.#isOurCa ? own : new TlsFolder(other)
    if (!this.#isOurCa) this.folder.onProblem = (error) => own.onProblem(error)
  }

  /** @param hostname  of a URL */
  wishFor(hostname: string): SecureWish {
    return wishForStore(this.folder, this.#isOurCa, hostname.replace(/^\[(.*)\]$/, '$1'))
  }
}
