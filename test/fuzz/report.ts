/** What a campaign says at its end: executions and their cost, branches by file, failures. */
import { executionsOf } from './campaign.ts'
import type { CampaignResult } from './campaign-result.ts'

interface FileBranches {
  file: string
  ran: number
  found: number
}

function branchesOf({ blocks }: CampaignResult): FileBranches[] {
  return [...blocks].sort(([a], [b]) => a < b ? -1 : 1).map(([file, starts]) => ({
    file, ran: [...starts.values()].filter(Boolean).length, found: starts.size,
  }))
}

const share = (ran: number, found: number): string => `${found === 0 ? 0 : Math.floor((100 * ran) / found)} %`
const sum = (numbers: readonly number[]): number => numbers.reduce((total, one) => total + one, 0)
const perMillion = (cpuMs: number, executions: number): string => (1000 * cpuMs / Math.max(1, executions)).toFixed(1)

/** @param text  what ran */
export function reportLines(result: CampaignResult, text: string): string[] {
  const branches = branchesOf(result)
  const targets = [...result.targets].sort(([a], [b]) => a < b ? -1 : 1)
  const executions = executionsOf(result)
  const fileWidth = Math.max(...branches.map(({ file }) => file.length), 0)
  const nameWidth = Math.max(...targets.map(([name]) => name.length), 0)
  const ran = sum(branches.map((one) => one.ran))
  const found = sum(branches.map((one) => one.found))
  const cpuMs = sum(targets.map(([, target]) => target.cpuMs))
  return [
    '',
    ...targets.map(([name, target]) => [
      name.padEnd(nameWidth), String(target.executions).padStart(11), 'executions',
      `(${share(target.executions, executions)}),`.padStart(8), perMillion(target.cpuMs, target.executions).padStart(7),
      `CPU s per 10^6, ${share(target.repeated, target.executions)} repeated, ${target.kept.length} inputs kept`,
    ].join(' ')),
    '',
    ...branches.map(({ file, ran, found }) =>
      `${file.padEnd(fileWidth)}  ${`${ran} of ${found}`.padStart(12)} branches  ${share(ran, found).padStart(5)}`),
    '',
    `${text}: ${Math.round(cpuMs / 1000)} s of the processor, ${perMillion(cpuMs, executions)} s per 10^6 executions`,
    `${executions} executions in ${Math.round(result.seconds)} s; ${ran} of ${found} branches `
      + `(${share(ran, found)}); ${result.failures.length} crashes`,
  ]
}
