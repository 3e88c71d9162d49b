/**
 * What a campaign did, and the file that keeps it, so that a campaign may go on another day: of the same text, or else
 * "no crash" would be said of nothing that there is.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { BlockList } from './branch-coverage.ts'
import type { Failure } from './search.ts'

export interface TargetResult {
  executions: number
  /** Of those: inputs that had run shortly before. */
  repeated: number
  cpuMs: number
  slices: number
  /** Inputs that reached something new. */
  kept: Uint8Array[]
}

export interface CampaignResult {
  seconds: number
  targets: Map<string, TargetResult>
  /** By file; a block ran when it ran in any process. */
  blocks: Map<string, Map<number, boolean>>
  failures: Array<Failure & { name: string }>
}

export const emptyResult = (): CampaignResult => ({ seconds: 0, targets: new Map(), blocks: new Map(), failures: [] })

export function mergeBlocks(into: CampaignResult['blocks'], blocks: BlockList): void {
  for (const [file, list] of Object.entries(blocks)) {
    let known = into.get(file)
    if (known === undefined) into.set(file, known = new Map())
    for (const [start, ran] of list) known.set(start, ran || known.get(start) === true)
  }
}

const fileOf = (folder: string): string => path.join(folder, 'campaign.json')
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'base64')

interface Kept {
  text: string
  seconds: number
  targets: Array<Omit<TargetResult, 'kept'> & { name: string; kept: string[] }>
  blocks: BlockList
  failures: Array<{ name: string; input: string; problem: string }>
}

/** What `keepResult` kept there, if anything; a string: why not. `text` names the text that runs. */
export function keptResult(folder: string, text: string): CampaignResult | string {
  if (!fs.existsSync(fileOf(folder))) return emptyResult()
  const kept = JSON.parse(fs.readFileSync(fileOf(folder), 'utf8')) as Kept
  if (kept.text !== text) return `${folder} has a campaign of ${kept.text}, and this is ${text}`
  const result = emptyResult()
  result.seconds = kept.seconds
  for (const { name, kept: inputs, ...rest } of kept.targets) {
    result.targets.set(name, { ...rest, kept: inputs.map(bytesOf) })
  }
  mergeBlocks(result.blocks, kept.blocks)
  result.failures = kept.failures.map(({ input, ...rest }) => ({ ...rest, input: bytesOf(input) }))
  return result
}

/** In whole, or what was there before stays. */
export function keepResult(folder: string, text: string, { seconds, targets, blocks, failures }: CampaignResult): void {
  const kept: Kept = {
    text,
    seconds,
    targets: [...targets].map(([name, { kept: inputs, ...rest }]) => ({ name, ...rest, kept: inputs.map(base64) })),
    blocks: Object.fromEntries([...blocks].map(([file, starts]) => [file, [...starts]])),
    failures: failures.map(({ input, ...rest }) => ({ ...rest, input: base64(input) })),
  }
  fs.mkdirSync(folder, { recursive: true })
  const file = fileOf(folder)
  fs.writeFileSync(`${file}.new`, JSON.stringify(kept))
  fs.renameSync(`${file}.new`, file)
}
