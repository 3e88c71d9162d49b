/** A goal and what was measured against it, as a row of the goals table that every suite ends with. */
export interface Goal {
  name: string
  /** Words: `>= 4x`, `<= 400 MiB`. */
  wanted: string
  /** Words, undefined when it could not be measured; then `note` says why. */
  measured: string | undefined
  met: boolean | undefined
  note?: string
}

export function goalsTable(goals: readonly Goal[]): string {
  const rows = goals.map(({ name, wanted, measured, met, note }) => {
    const verdict = met === undefined ? 'not measured' : met ? 'met' : '**not met**'
    return `| ${name} | ${wanted} | ${measured ?? '-'} | ${verdict}${note === undefined ? '' : `: ${note}`} |`
  })
  return ['| goal | wanted | measured | |', '|---|---|---|---|', ...rows].join('\n')
}
