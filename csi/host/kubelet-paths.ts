/**
 * Paths that a request names: used only inside kubelet's folder, and never through a symbolic link below it. The folder
 * itself, and what leads to it, may be links: that is the administrator's affair.
 *
 * Nobody but root can write to the folders between kubelet's and a mount point, so what was looked at stays true; and
 * programs that mount are told not to resolve paths again.
 */
import { lstatSync, realpathSync } from 'node:fs'
import path from 'node:path'
import { HoldfastError } from '../../engine/errors.ts'

const PATH_BYTES_MAX = 4095

export class KubeletFolder {
  readonly #named: string
  readonly #real: string

  /** @throws HoldfastError `mount-path`: there is no such folder */
  constructor(folder: string) {
    this.#named = path.resolve(folder)
    try {
      this.#real = realpathSync(this.#named)
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException
      const reason = code === 'ENOENT' ? 'there is no such folder' : code
      throw new HoldfastError('mount-path', { path: folder, reason })
    }
  }

  /**
   * The path without symbolic links, as mountinfo has it. What is not there yet may be missing from its end.
   * @throws HoldfastError `mount-path`
   */
  inside(asked: string): string {
    const refused = (reason: string): HoldfastError => new HoldfastError('mount-path', { path: asked, reason })
    if (asked.includes('\0') || Buffer.byteLength(asked) > PATH_BYTES_MAX) throw refused('it is no path of this system')
    if (!path.isAbsolute(asked)) throw refused('it is not absolute')
    if (asked.split('/').includes('..')) throw refused('it goes up again')
    const normal = path.normalize(asked).replace(/\/+$/, '')
    const within = [this.#named, this.#real].find((folder) => normal.startsWith(`${folder}/`))
    if (within === undefined) throw refused(`it is outside ${this.#named}`)
    const parts = normal.slice(within.length + 1).split('/')
    let reached = this.#real
    for (const part of parts) {
      reached = path.join(reached, part)
      if (isLink(reached)) throw refused(`${reached} is a symbolic link`)
    }
    return reached
  }

  isInside(asked: string): boolean {
    try {
      this.inside(asked)
      return true
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'mount-path') return false
      throw error
    }
  }
}

/** What cannot be looked at is no link that could be followed: the device under it may be gone. */
const UNSEEN = ['ENOTDIR', 'EACCES', 'EIO', 'ENOTCONN', 'ESTALE']

function isLink(file: string): boolean {
  try {
    return lstatSync(file, { throwIfNoEntry: false })?.isSymbolicLink() === true
  } catch (error) {
    if (UNSEEN.includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}
