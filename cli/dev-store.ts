/** The cluster store of a dev cluster: `holdfast store` as a child, on a loopback port that it keeps while we run. */
import path from 'node:path'
import { DevChild } from './dev-child.ts'

export const DEV_STORE = 'store'

interface StoreReady {
  url: string
}

export class DevStore extends DevChild<StoreReady> {
  readonly #dir: string
  readonly #tls: string | undefined
  #port = 0

  /** @param tls  folder of its certificate; undefined: in plain text */
  constructor(dir: string, onLost: (why: string) => void, tls: string | undefined) {
    super({ name: DEV_STORE, onLost })
    this.#dir = path.join(dir, DEV_STORE)
    this.#tls = tls
  }

  protected override words(): string[] {
    const tls = this.#tls === undefined ? [] : ['--tls', this.#tls]
    return ['store', '--dir', this.#dir, '--listen', `127.0.0.1:${this.#port}`, ...tls]
  }

  override async start(): Promise<boolean> {
    const isUp = await super.start()
    // The nodes were told this one.
    if (isUp && this.#port === 0) this.#port = Number(new URL(this.ready!.url).port)
    return isUp
  }
}
