/**
 * Objects held against what the Kubernetes API publishes of itself: the OpenAPI files in the pinned Kubernetes module,
 * and the schemas in CRDs. Stricter than the API, which drops what it does not know: here that is a problem.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { parse } from 'yaml'

type Json = Record<string, unknown>
type Schema = Json

const TOOLS = path.join(import.meta.dirname, '../kube/tools')

/** Where a module lies that the tools are built from; it is fetched if it is not there. */
export function moduleFolder(name: string): string {
  execFileSync('go', ['mod', 'download', name], { cwd: TOOLS, stdio: 'ignore' })
  return execFileSync('go', ['list', '-m', '-f', '{{.Dir}}', name], { cwd: TOOLS, encoding: 'utf8' }).trim()
}

const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)

interface ResourceDefinition {
  group: string
  names: { kind: string }
  versions: Array<{ name: string; schema: { openAPIV3Schema: Schema } }>
}

interface GroupVersionKind { group: string; version: string; kind: string }

export class Kinds {
  readonly #schemas = new Map<string, { schema: Schema; all: Json }>()

  /** All kinds of the API itself. */
  addKubernetes(files: readonly string[]): void {
    const folder = path.join(moduleFolder('k8s.io/kubernetes'), 'api/openapi-spec/v3')
    for (const file of files) {
      const text = readFileSync(path.join(folder, file), 'utf8')
      const { components } = JSON.parse(text) as { components: { schemas: Json } }
      for (const schema of Object.values(components.schemas) as Schema[]) {
        const kinds = (schema['x-kubernetes-group-version-kind'] ?? []) as GroupVersionKind[]
        for (const { group, version, kind } of kinds) {
          const apiVersion = group === '' ? version : `${group}/${version}`
          this.#schemas.set(`${apiVersion} ${kind}`, { schema, all: components.schemas })
        }
      }
    }
  }

  addResources(text: string): void {
    const { spec } = parse(text) as { spec: ResourceDefinition }
    for (const { name, schema } of spec.versions) {
      this.#schemas.set(`${spec.group}/${name} ${spec.names.kind}`, { schema: schema.openAPIV3Schema, all: {} })
    }
  }

  /** Nothing: it is one. */
  problems(object: Json): string[] {
    const found = this.#schemas.get(`${String(object.apiVersion)} ${String(object.kind)}`)
    if (found === undefined) return [`${String(object.apiVersion)} ${String(object.kind)} is no known kind`]
    const problems: string[] = []
    check(object, found.schema, found.all, '', problems)
    return problems
  }
}

function resolved(schema: Schema, all: Json): Schema {
  const { $ref, allOf } = schema
  if (typeof $ref === 'string') return resolved(all[$ref.split('/').at(-1)!] as Schema, all)
  if (!Array.isArray(allOf)) return schema
  const parts = (allOf as Schema[]).map((part) => resolved(part, all))
  return Object.assign({}, schema, ...parts) as Schema
}

const OF_EVERY_OBJECT = new Set(['apiVersion', 'kind', 'metadata'])

function check(value: unknown, given: Schema, all: Json, at: string, problems: string[]): void {
  const schema = resolved(given, all)
  const { type, properties, additionalProperties, items, required, enum: choices } = schema
  const say = (problem: string): void => void problems.push(`${at === '' ? '.' : at}: ${problem}`)
  const isEither = schema.format === 'int-or-string' || schema['x-kubernetes-int-or-string'] === true
  if (isEither || schema.oneOf !== undefined) return
  if (Array.isArray(choices) && !choices.includes(value)) say(`${String(value)} is none of ${choices.join(', ')}`)
  if (type === 'array' || items !== undefined) {
    if (!Array.isArray(value)) return say('is no list')
    for (const [i, one] of value.entries()) check(one, items as Schema, all, `${at}[${i}]`, problems)
  } else if (type === 'object' || properties !== undefined) {
    if (!isJson(value)) return say('is no object')
    for (const name of (required ?? []) as string[]) if (value[name] === undefined) say(`${name} is missing`)
    for (const [name, part] of Object.entries(value)) {
      const known = isJson(properties) ? properties[name] : undefined
      if (known !== undefined) check(part, known as Schema, all, `${at}.${name}`, problems)
      else if (isJson(additionalProperties)) check(part, additionalProperties, all, `${at}.${name}`, problems)
      else if (at === '' && OF_EVERY_OBJECT.has(name)) continue
      else if (isJson(properties) && schema['x-kubernetes-preserve-unknown-fields'] !== true) {
        say(`${name} is not known`)
      }
    }
  } else if (type === 'integer' || type === 'number') {
    if (typeof value !== 'number') say(`${JSON.stringify(value)} is no number`)
  } else if (type === 'boolean' || type === 'string') {
    if (typeof value !== type) say(`${JSON.stringify(value)} is no ${type}`)
  }
}
