/**
 * A Kubernetes API on paper: objects in a map, behind the HTTPS server of `stand-in.ts`. Collections that were declared
 * are lists; everything else is not found, as the API says it of a kind or of a name. Watches tell what changes from
 * when they began. No rights, no schemas, no pages.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import { standIn } from './stand-in.ts'

export type Json = Record<string, any>

interface Watcher { collection: string; response: ServerResponse }

const SUBRESOURCE = /\/(?:status|approval)$/

export class PaperApi {
  readonly objects = new Map<string, Json>()
  readonly #collections: readonly string[]
  readonly #watchers = new Set<Watcher>()
  #version = 1
  client!: Awaited<ReturnType<typeof standIn>>['client']
  kubeconfig!: string
  /** Of a POST, before it is answered: what the API itself writes, or somebody does at once. */
  onPost: (path: string, object: Json) => void | Promise<void> = () => undefined
  /** `GET /path`, one each request, without its query. */
  readonly asked: string[] = []

  private constructor(collections: readonly string[]) {
    this.#collections = collections
  }

  static async start(t: Test, collections: readonly string[]): Promise<PaperApi> {
    const api = new PaperApi(collections)
    const { client, kubeconfig } = await standIn(t, (request, response) => void api.#answer(request, response))
    Object.assign(api, { client, kubeconfig })
    return api
  }

  /** As somebody else would. */
  put(path: string, object: Json): Json {
    const former = this.objects.get(path)
    const metadata = {
      name: path.split('/').at(-1)!, ...object.metadata,
      uid: former?.metadata.uid ?? randomUUID(), resourceVersion: String(++this.#version),
    }
    const made = { ...object, metadata }
    this.objects.set(path, made)
    this.#tell(former === undefined ? 'ADDED' : 'MODIFIED', path, made)
    return made
  }

  delete(path: string): void {
    const former = this.objects.get(path)
    if (!this.objects.delete(path)) return
    const metadata = { ...former!.metadata, resourceVersion: String(++this.#version) }
    this.#tell('DELETED', path, { ...former, metadata })
  }

  #tell(type: string, path: string, object: Json): void {
    for (const { collection, response } of this.#watchers) {
      if (isIn(collection, path)) response.write(`${JSON.stringify({ type, object })}\n`)
    }
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = ''
    for await (const piece of request as AsyncIterable<Buffer>) text += piece.toString()
    const url = new URL(request.url!, 'https://paper')
    const path = decodeURIComponent(url.pathname)
    this.asked.push(`${request.method} ${path}`)
    const say = (status: number, body: Json): void => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    const refuse = (status: number, message: string): void => say(status, { kind: 'Status', message })
    const isList = this.#collections.includes(path)
    if (request.method === 'GET' && isList && url.searchParams.get('watch') === 'true') {
      const watcher = { collection: path, response }
      response.writeHead(200).flushHeaders()
      this.#watchers.add(watcher)
      response.on('close', () => this.#watchers.delete(watcher))
      return
    }
    if (request.method === 'GET' && isList) {
      const items = [...this.objects].filter(([at]) => isIn(path, at)).map(([, object]) => object)
      return say(200, { metadata: { resourceVersion: String(this.#version) }, items })
    }
    const body = text === '' ? {} : (JSON.parse(text) as Json)
    if (request.method === 'POST' && isList) {
      const at = `${path}/${body.metadata.name}`
      if (this.objects.has(at)) return refuse(409, `"${body.metadata.name}" already exists`)
      if (url.searchParams.get('dryRun') === 'All') return say(201, body)
      const { stringData, ...rest } = body
      const entries = Object.entries((stringData ?? {}) as Record<string, string>)
      const data = Object.fromEntries(entries.map(([name, value]) => [name, Buffer.from(value).toString('base64')]))
      const made = this.put(at, stringData === undefined ? rest : { ...rest, data })
      await this.onPost(at, made)
      return say(201, this.objects.get(at)!)
    }
    const place = path.replace(SUBRESOURCE, '')
    const found = this.objects.get(place)
    const isOfKind = this.#collections.some((collection) => isIn(collection, place))
    if (found === undefined) {
      return refuse(404, isOfKind ? `objects "${place.split('/').at(-1)}" not found` : 'the server could not find it')
    }
    if (request.method === 'GET') return say(200, found)
    if (request.method === 'DELETE') {
      this.delete(place)
      return say(200, { kind: 'Status' })
    }
    if (request.method !== 'PUT') return refuse(405, 'no')
    const { resourceVersion } = (body.metadata ?? {}) as Json
    const isLate = resourceVersion !== undefined && resourceVersion !== found.metadata.resourceVersion
    return isLate ? refuse(409, 'the object has been modified') : say(200, this.put(place, body))
  }
}

const isIn = (collection: string, path: string): boolean =>
  path.startsWith(`${collection}/`) && !path.slice(collection.length + 1).includes('/')
