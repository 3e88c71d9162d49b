/** Runs an offline tool in this process and keeps its result, its notes and its failure. */
import fs from 'node:fs'
import path from 'node:path'
import { run as runInspect } from '../../cli/offline/inspect.ts'
import { run as runSalvage } from '../../cli/offline/salvage.ts'
import { run as runVerify } from '../../cli/offline/verify.ts'
import type { Output } from '../../cli/output.ts'
import type { DamagedRange } from '../../cli/offline/damage-map.ts'
import { HoldfastError } from '../../engine/errors.ts'

const TOOLS = { inspect: runInspect, salvage: runSalvage, verify: runVerify }

export interface Said {
  code: number
  value: unknown
  text: string[]
  notes: string[]
  /** The sentence of a refusal. */
  refusal: string
  errorCode: string
}

export async function offline(tool: keyof typeof TOOLS, ...words: string[]): Promise<Said> {
  const said: Said = { code: 0, value: undefined, text: [], notes: [], refusal: '', errorCode: '' }
  const output: Output = {
    json: false,
    line: (text) => void said.text.push(text),
    note: (text) => void said.notes.push(text),
    result(value, lines) {
      said.value = value
      said.text.push(...lines())
    },
    error: () => {},
  }
  try {
    said.code = await TOOLS[tool](words, output)
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error
    said.refusal = error.message
    said.errorCode = error.code
  }
  return said
}

export interface Salvaged extends Said {
  image: Buffer
  ranges: DamagedRange[]
}

export async function salvage(folder: string, paths: string[], volume: string, ...more: string[]): Promise<Salvaged> {
  const to = path.join(folder, `image-${fs.readdirSync(folder).length}`)
  const said = await offline('salvage', ...paths, '--volume', volume, '--to', to, ...more)
  const { ranges } = (said.value ?? { ranges: [] }) as { ranges: DamagedRange[] }
  return { ...said, image: fs.existsSync(to) ? fs.readFileSync(to) : Buffer.alloc(0), ranges }
}

/** The stamps of the first blocks of an image: each block holds one byte value throughout, or -1 is shown. */
export function stampsOf(image: Buffer, blocks: number): number[] {
  return Array.from({ length: blocks }, (_, i) => {
    const block = image.subarray(i * 4096, (i + 1) * 4096)
    return block.every((byte) => byte === block[0]) ? block[0]! : -1
  })
}
