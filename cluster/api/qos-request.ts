/**
 * Limits of a volume as people type them (`--qos-iops 500 --qos-bandwidth 50Mi --qos-burst 10s`), checked by the daemon
 * for all callers. Of what is not named, what is there stays.
 */
import { HoldfastError } from '../../engine/errors.ts'
import { MIB } from '../../engine/units.ts'
import type { QosLimits } from '../../engine/volume/qos-limits.ts'
import { parseDurationMs, parseSize } from './amounts.ts'
import { shown } from './names.ts'

/** As text; undefined or empty: not named. `none` of the first two: no limit. */
export interface GivenQos {
  iops?: string | undefined
  bandwidth?: string | undefined
  burst?: string | undefined
}

/** A client that keeps 128 requests under way gets each answered within 13 s. */
const IOPS_LEAST = 10
const IOPS_MOST = 10_000_000
/** A single request may have 32 MiB, and holds up the ones behind it for half a minute. */
const BANDWIDTH_LEAST = MIB
const BANDWIDTH_MOST = MIB * MIB
const BURST_MS_LEAST = 100
const BURST_MS_MOST = 60 * 60_000
const BURST_MS_DEFAULT = 1000

const refuse = (parameter: string, value: string, allowed: string): never => {
  throw new HoldfastError('parameter', { parameter, value: shown(value), allowed })
}

const isGiven = (text: string | undefined): text is string => text !== undefined && text !== ''

function checkIops(text: string): number {
  if (text === 'none') return 0
  const iops = /^[0-9]{1,8}$/.test(text) ? Number(text) : 0
  if (iops >= IOPS_LEAST && iops <= IOPS_MOST) return iops
  return refuse('qos-iops', text, `none, or ${IOPS_LEAST} to ${IOPS_MOST} requests a second`)
}

function checkBandwidth(text: string): number {
  if (text === 'none') return 0
  const bytes = parseSize(text) ?? 0
  if (bytes >= BANDWIDTH_LEAST && bytes <= BANDWIDTH_MOST) return bytes
  return refuse('qos-bandwidth', text, 'none, or 1Mi to 1Ti bytes a second, e.g. 100Mi')
}

function checkBurst(text: string): number {
  const ms = parseDurationMs(text) ?? 0
  if (ms >= BURST_MS_LEAST && ms <= BURST_MS_MOST) return ms
  return refuse('qos-burst', text, '100ms to 60m of the limits, e.g. 10s')
}

/**
 * @param now  what is there
 * @returns undefined: no limits
 * @throws HoldfastError `parameter`
 */
export function checkQos(given: GivenQos, now?: QosLimits): QosLimits | undefined {
  const iops = isGiven(given.iops) ? checkIops(given.iops) : now?.iops ?? 0
  const bandwidthBytes = isGiven(given.bandwidth) ? checkBandwidth(given.bandwidth) : now?.bandwidthBytes ?? 0
  const burstMs = isGiven(given.burst) ? checkBurst(given.burst) : now?.burstMs ?? BURST_MS_DEFAULT
  if (iops > 0 || bandwidthBytes > 0) return { iops, bandwidthBytes, burstMs }
  if (isGiven(given.burst)) refuse('qos-burst', given.burst, 'with a limit only: qos-iops, qos-bandwidth or both')
  return undefined
}
