/**
 * proto/csi/v1/csi.proto is CSI v1.12 on the wire. What that is stands in csi-v1.12.txt, a line a call, an enum, a
 * message: the descriptors that @grpc/proto-loader makes of the file are written the same way, and compared.
 */
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { loadSync } from '@grpc/proto-loader'
import t from 'tap'
import { PROTO_FOLDER } from '../../cluster/api/proto.ts'

interface Field { number: number; name: string; label: string; type: string; typeName: string; oneofIndex: number }
interface Enum { name: string; value: Array<{ name: string; number: number }> }
interface Message {
  name: string
  field: Field[]
  nestedType: Message[]
  enumType: Enum[]
  oneofDecl: Array<{ name: string }>
}

const lines = readFileSync(path.join(import.meta.dirname, 'csi-v1.12.txt'), 'utf8').trim().split('\n').sort()

const enumLine = (name: string, { value }: Enum): string =>
  `enum ${name} ${value.map((one) => `${one.name}=${one.number}`).join(' ')}`

/** A map is a nested message of the compiler's, named after the field. */
const isEntry = ({ field }: Message): boolean => field.map(({ name }) => name).join() === 'key,value'

function fieldText(field: Field, message: Message): string {
  const entry = message.nestedType.find(({ name }) => name === field.typeName)
  const scalar = field.type.replace('TYPE_', '').toLowerCase()
  const single = field.typeName === '' ? scalar : field.typeName.replace(/^\.?(csi\.v1\.)?/, '')
  const type = entry !== undefined && isEntry(entry) ? 'map<string,string>'
    : field.label === 'LABEL_REPEATED' ? `repeated:${single}` : single
  const oneof = isChoice(field) ? message.oneofDecl[field.oneofIndex] : undefined
  return `${field.number} ${field.name} ${type}${oneof === undefined ? '' : ` in:${oneof.name}`}`
}

/** The descriptor has index 0 also for fields of no choice: in CSI the members of a choice are messages in one word. */
const isChoice = (field: Field): boolean => field.typeName !== '' && !/^(AccessMode)$/.test(field.typeName)

function* messageLines(name: string, message: Message): Generator<string> {
  yield `message ${name} ${message.field.map((field) => fieldText(field, message)).join('; ')}`.trim()
  for (const one of message.enumType) yield enumLine(`${name}.${one.name}`, one)
  for (const one of message.nestedType) if (!isEntry(one)) yield* messageLines(`${name}.${one.name}`, one)
}

t.test('names, numbers and types are those of the standard', (t) => {
  const found = loadSync('csi/v1/csi.proto', { includeDirs: [PROTO_FOLDER], keepCase: true })
  const told: string[] = []
  for (const [fullName, definition] of Object.entries(found)) {
    if (!fullName.startsWith('csi.v1.')) continue
    const name = fullName.slice('csi.v1.'.length)
    if (!('format' in definition)) {
      for (const [rpc, { path: at, requestType, responseType, responseStream }] of Object.entries(definition)) {
        t.equal(at, `/${fullName}/${rpc}`)
        const [request, response] = [requestType, responseType].map(({ type }) => (type as { name: string }).name)
        told.push(`rpc ${name}.${rpc} ${request} ${responseStream ? 'stream ' : ''}${response}`)
      }
    } else if ('value' in definition.type) told.push(enumLine(name, definition.type as Enum))
    else told.push(...messageLines(name, definition.type as unknown as Message))
  }
  t.same(told.sort(), lines)
  t.end()
})
