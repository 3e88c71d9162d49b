/** Processor time of this thread to the nanosecond: who else uses the machine does not count, nor does a pause. */
import koffi from 'koffi'

const callClockGettime = koffi.load(null).func('int clock_gettime(int clock, uint64_t into)')
const CLOCK_THREAD_CPUTIME_ID = 3
const now = new BigInt64Array(2)
const address = koffi.address(now.buffer)

/** Milliseconds since the thread began. 1 us a call. */
export function cpuMs(): number {
  callClockGettime(CLOCK_THREAD_CPUTIME_ID, address)
  return Number(now[0]) * 1000 + Number(now[1]) / 1e6
}
