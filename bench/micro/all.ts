/** Suite `micro`: the micro-benchmarks of this folder, each in a process of its own, one behind the other. */
import { spawn } from 'node:child_process'
import path from 'node:path'
import type { SuiteContext, SuiteOutcome } from '../volume/suite.ts'

const PROGRAMS = [
  'extent-map', 'record-codec', 'nbd-parser', 'peer-codec', 'peer-loopback', 'disk', 'replicated-writes',
  'meters', 'scrub',
]

export async function measureMicro({ scratch, print }: SuiteContext): Promise<SuiteOutcome> {
  const parts: string[] = []
  for (const name of PROGRAMS) {
    print(`${name}`)
    const output = await run(scratch, path.join(import.meta.dirname, `${name}.ts`))
    parts.push(`### ${name}\n\n\`\`\`\n${output.trim()}\n\`\`\``)
  }
  return { goals: [], text: parts.join('\n\n').replaceAll(scratch.dir, 'DIR') }
}

function run(scratch: SuiteContext['scratch'], file: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = scratch.keep(
      spawn(process.execPath, [file, scratch.dir], { stdio: ['ignore', 'pipe', 'inherit'] }),
    )
    let output = ''
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    child.on('close', (code) => {
      if (code === 0) resolve(output)
      else reject(new Error(`${path.basename(file)} ended with ${code}`))
    })
  })
}
