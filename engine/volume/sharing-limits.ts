/** How far copies may share (cluster/reconcile/CLONES.md section 7). */

/** Clones of one copy: each is in every control record of it, and looked through when one of them is read. */
export const PINS_MOST = 1024
/** Maps below one another that one read may go through, its own among them. */
export const LEVELS_MOST = 8
