/** What a connection says to the switchboard first: `HOST:PORT`, filled up with blanks to so many bytes. */
export const TARGET_BYTES = 64
