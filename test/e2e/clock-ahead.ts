/**
 * Loaded into processes before anything else (`--import`): their clock of the wall is ahead by CLOCK_AHEAD_MS, as that
 * of a host may be. Clocks that only count on stay as they are.
 */
const ahead = process.env.CLOCK_AHEAD_MS
if (ahead !== undefined) {
  const Wall = Date
  const now = (): number => Wall.now() + Number(ahead)
  globalThis.Date = new Proxy(Wall, {
    construct: (wall, words, as) => Reflect.construct(wall, words.length === 0 ? [now()] : words, as) as Date,
    get: (wall, name, as) => (name === 'now' ? now : Reflect.get(wall, name, as) as unknown),
  })
}
export {}
