/** How long the kernel waits, as its NBD client is told. */

/** Of a request on one socket: then it is asked again on another one. */
export const REQUEST_SECONDS = 5
/** As good as for ever: whole seconds that are still whole in the kernel's ticks. */
export const MAX_DEVICE_SECONDS = 2 ** 31 - 1
