/**
 * The first second of every command: say in one sentence that this is not a Linux machine. Plain JavaScript, because
 * any Node of the host runs it, and a program of its own, because Windows has no sh for `bin/node24`.
 */
const names = { darwin: 'macOS', win32: 'Windows' }

if (process.platform !== 'linux') {
  const here = names[process.platform] ?? process.platform
  console.error(`Holdfast runs on Linux only; this is ${here}. Use a Linux machine or a virtual one.`)
  process.exit(1)
}
