/** How much clients may ask of a volume, as wished: part of its spec (`volume-spec.ts`). */

export interface QosLimits {
  /** Requests a second; 0 = as many as it can. */
  iops: number
  /** Bytes read and written a second; 0 = as many as it can. */
  bandwidthBytes: number
  /** What came in while nothing was asked is kept for so long, and may then be asked at once. */
  burstMs: number
}

/** As the API shows it. */
export const NO_LIMITS: QosLimits = { iops: 0, bandwidthBytes: 0, burstMs: 0 }

/** Of one of several nodes whose clients use the volume: together they have what is wished. */
export function shareOf(limits: QosLimits, nodes: number): QosLimits {
  const { iops, bandwidthBytes, burstMs } = limits
  return { iops: iops / nodes, bandwidthBytes: bandwidthBytes / nodes, burstMs }
}
