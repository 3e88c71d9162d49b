/** What a guest with a kernel NBD client is told on its standard input, and says on its console: JSON lines. */

export interface ShellOrder {
  id: number
  /** For `sh -c`. */
  command: string
}

export interface ShellAnswer {
  id: number
  code: number
  output: string
}

/** Lines of a guest begin with it; whatever else is on the console is its kernel's. */
export const GUEST = 'guest: '
export const UP = `${GUEST}up`
