/**
 * What is in a process's memory stays there: keys of volumes, private keys of TLS. Called first by every process that
 * goes on for long. Whoever may ask the kernel for that memory, root above all, still can.
 *
 * - No core file, whatever the limits of the host are; a handler of cores is told so by the limit.
 * - No diagnostic report: it has the environment and the command line, and may be asked for by NODE_OPTIONS.
 * - No debugger: at SIGUSR1 Node opens one on a port of loopback, for everybody on the host.
 */
import { forbidCoreFiles, hideMemory } from './libc.ts'

/** @param holdsKeys  of volumes: nobody but root may look at it at all */
export function keepMemorySecret({ holdsKeys }: { holdsKeys: boolean }): void {
  forbidCoreFiles()
  if (holdsKeys) hideMemory()
  const { report } = process
  report.reportOnFatalError = report.reportOnUncaughtException = report.reportOnSignal = false
  process.on('SIGUSR1', () => undefined)
}
