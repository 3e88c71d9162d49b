/** What came of it when each of many asked for each of many things, as a table of Markdown. */
export interface Table {
  title: string
  words: string
  /** What was asked for. */
  what: string
  columns: string[]
  /** By what was asked for, a cell of each column. */
  rows: Map<string, string[]>
}

export function linesOf({ title, words, what, columns, rows }: Table): string[] {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [
    `## ${title}`,
    '',
    words,
    '',
    line([what, ...columns]),
    line([what, ...columns].map(() => '---')),
    ...[...rows].map(([name, cells]) => line([`\`${name}\``, ...cells])),
    '',
  ]
}
