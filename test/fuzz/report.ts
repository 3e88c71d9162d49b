/** What a campaign says at its end: executions, branches by file, failures. */
import type { CampaignResult } from './campaign.ts'

export interface FileBranches {
  file: string
  ran: number
  found: number
}

export function branchesOf({ blocks }: Pick<CampaignResult, 'blocks'>): FileBranches[] {
  return [...blocks].sort(([a], [b]) => a < b ? -1 : 1).map(([file, starts]) => ({
    file, ran: [...starts.values()].filter(Boolean).length, found: starts.size,
  }))
}

const share = (ran: number, found: number): string => `${found === 0 ? 0 : Math.floor((100 * ran) / found)} %`

export function reportLines(result: CampaignResult): string[] {
  const branches = branchesOf(result)
  const fileWidth = Math.max(...branches.map(({ file }) => file.length), 0)
  const nameWidth = Math.max(...[...result.targets.keys()].map((name) => name.length), 0)
  const ran = branches.reduce((sum, one) => sum + one.ran, 0)
  const found = branches.reduce((sum, one) => sum + one.found, 0)
  return [
    '',
    ...[...result.targets].sort(([a], [b]) => a < b ? -1 : 1).map(([name, { executions, corpusInputs }]) =>
      `${name.padEnd(nameWidth)}  ${String(executions).padStart(11)} executions, ${corpusInputs} inputs kept`),
    '',
    ...branches.map(({ file, ran, found }) =>
      `${file.padEnd(fileWidth)}  ${`${ran} of ${found}`.padStart(12)} branches  ${share(ran, found).padStart(5)}`),
    '',
    `${result.executions} executions in ${Math.round(result.seconds)} s; ${ran} of ${found} branches `
      + `(${share(ran, found)}); ${result.failures.length} crashes`,
  ]
}
