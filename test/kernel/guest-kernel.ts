/** Inside a guest, which has no tools for it: `load FILE [PARAMETERS]` gives its kernel a module, `off` ends it. */
import { openSync } from 'node:fs'
import koffi from 'koffi'

const SYS_FINIT_MODULE = process.arch === 'x64' ? 313 : 273
const POWER_OFF = 0x4321fedc
const lib = koffi.load(null)
const [what, file, ...parameters] = process.argv.slice(2)

if (what === 'off') lib.func('int reboot(int command)')(POWER_OFF)
else {
  const finitModule = lib.func('long syscall(long number, int fd, const char *parameters, int flags)')
  const result = finitModule(SYS_FINIT_MODULE, openSync(file!, 'r'), parameters.join(' '), 0)
  if (result !== 0) throw new Error(`${file} is not loaded: errno ${koffi.errno()}`)
}
