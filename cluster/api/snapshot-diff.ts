/** SnapshotReadService of the control API (proto/holdfast/v1/snapshot.proto): streams, which ControlApi has none of. */
import type { ServiceDefinition } from '@grpc/grpc-js'
import { grpcEndpoint } from './client.ts'
import type { Endpoint } from './client.ts'
import { GrpcClient } from './grpc-client.ts'
import type { ServedService } from './grpc-server.ts'
import { loadServices } from './proto.ts'

export interface DiffRequest {
  volume: string
  /** Name or id. */
  snapshot: string
  /** Name or id of another one; empty: what the snapshot holds. */
  since: string
}

/** Ranges in order, each of them an element of each list. */
export interface DiffPart {
  offsetBytes: number[]
  lengthBytes: number[]
  /** 1 data, 2 zeroes that are allocated, 3 nothing. */
  kinds: number[]
}

export const KIND_NAMES = ['', 'data', 'zero', 'hole'] as const

/** Rejects with a HoldfastError; what was told before is true. */
export type DiffSnapshots = (request: DiffRequest) => AsyncIterable<DiffPart>

let loaded: ServiceDefinition | undefined

function definition(): ServiceDefinition {
  loaded ??= loadServices(['snapshot'], ['SnapshotReadService']).SnapshotReadService!
  return loaded
}

export const snapshotReadService = (diff: DiffSnapshots): ServedService => ({
  definition: definition(),
  calls: {},
  streams: { Diff: diff as (request: never) => AsyncIterable<unknown> },
})

/** From outside. The connection ends with the stream. */
export async function* diffSnapshots(endpoint: Endpoint, request: DiffRequest): AsyncGenerator<DiffPart> {
  const client = new GrpcClient(grpcEndpoint(endpoint))
  try {
    for await (const part of client.stream(definition(), 'Diff', request)) yield part as DiffPart
  } finally {
    client.close()
  }
}
