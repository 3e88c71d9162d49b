/**
 * The services of CSI (proto/csi/v1/csi.proto), loaded once: camel case, enums by name, int64 as number (what is no
 * whole number below 2^53 is out of every range of ours), an unset message as null. And which fields hold secrets, by
 * the option `csi_secret` of the file, for everything that shows a request.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import type { ServiceDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import protobuf from 'protobufjs'
import { PROTO_FOLDER } from '../cluster/api/proto.ts'

const FILE = 'csi/v1/csi.proto'
const PACKAGE = 'csi.v1'

export type CsiServiceName = 'Identity' | 'Controller' | 'GroupController' | 'SnapshotMetadata' | 'Node'

let loaded: ReturnType<typeof loadSync> | undefined

export function csiService(name: CsiServiceName): ServiceDefinition {
  loaded ??= loadSync(FILE, {
    includeDirs: [PROTO_FOLDER],
    longs: Number, enums: String, defaults: true, arrays: true, objects: true, oneofs: true,
  })
  return loaded[`${PACKAGE}.${name}`] as ServiceDefinition
}

let secretFields: ReadonlySet<string> | undefined

/** `MESSAGE.field`, in camel case, of every field that the file marks as secret. */
export function secretsOfRequests(): ReadonlySet<string> {
  secretFields ??= readSecretFields()
  return secretFields
}

/** What proto-loader keeps of a field has no options that the file declares itself. */
function readSecretFields(): Set<string> {
  const { root } = protobuf.parse(readFileSync(path.join(PROTO_FOLDER, FILE), 'utf8'))
  const found = new Set<string>()
  const look = (at: protobuf.ReflectionObject): void => {
    if (at instanceof protobuf.Type) {
      const secret = at.fieldsArray.filter(({ options }) => options?.['(csi_secret)'] === true)
      for (const { name } of secret) found.add(`${at.name}.${name}`)
    }
    if (at instanceof protobuf.Namespace) at.nestedArray.forEach(look)
  }
  look(root)
  return found
}
