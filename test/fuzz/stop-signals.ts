/** Who stops a campaign sends one of these, also to its slices: a terminal at Ctrl-C, a `kill` of the process group. */
export const STOP_SIGNALS = ['SIGINT', 'SIGTERM'] as const
