/** What user-mode-linux needs on a processor with AMX: a library in front of it, compiled on the spot. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { assert } from '../../engine/assert.ts'

const SOURCE = path.join(import.meta.dirname, 'wide-registers.c')
const COMPILER = 'gcc'

/** The processor has AMX. */
export const areRegistersWide = (): boolean => /\bamx_tile\b/.test(readFileSync('/proc/cpuinfo', 'utf8'))

/** Why guests cannot run for want of it, or undefined. */
export function registersMissing(): string | undefined {
  if (!areRegistersWide() || spawnSync(COMPILER, ['--version']).status === 0) return undefined
  return `user-mode-linux needs ${COMPILER} on a processor with AMX (Debian package ${COMPILER})`
}

/** @returns what is to be loaded before the C library; undefined: nothing */
export function compileWideRegisters(folder: string): string | undefined {
  if (!areRegistersWide()) return undefined
  const library = path.join(folder, 'wide-registers.so')
  const words = ['-O2', '-shared', '-fPIC', '-nostdlib', '-o', library, SOURCE]
  const { status, stderr } = spawnSync(COMPILER, words, { encoding: 'utf8' })
  assert(status === 0, `${SOURCE} is compiled: ${stderr}`)
  return library
}
