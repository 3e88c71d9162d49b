/** Services out of the files of proto/holdfast/v1, by their short name: camel case, int64 as number below 2^53. */
import path from 'node:path'
import type { ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

export const PROTO_FOLDER = path.resolve(import.meta.dirname, '../../proto')

/** @param files  without folder and extension */
export function loadServices(files: readonly string[], names: Iterable<string>): Record<string, ServiceDefinition> {
  const definition = loadSync(files.map((name) => `holdfast/v1/${name}.proto`), {
    includeDirs: [PROTO_FOLDER],
    longs: Number,
    enums: String,
    defaults: true,
    arrays: true,
    objects: true,
  })
  const loaded: Record<string, ServiceDefinition> = {}
  for (const name of names) loaded[name] = definition[`holdfast.v1.${name}`] as ServiceDefinition
  return loaded
}
