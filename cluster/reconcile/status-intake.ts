/**
 * Reports of nodes, put together at the controller. What a node says is as old as the ticket it says it under at most:
 * a report that was under way for long is not taken for news (engine/control/SPEC.md section 7 asks for fresh words).
 */
import type { CopyStatus, NodeStatus } from '../../engine/control/node-status.ts'
import type { NodeDetails, NodeReport, ReportAnswer } from './node-calls.ts'

interface Reporter extends NodeDetails {
  instance: string
  ticket: string
  ticketAtMs: number
  /** By volume, of the last report that was taken; undefined: none was. */
  copies: Map<string, CopyStatus> | undefined
  /** The same as a list, another one as soon as one of them changes. */
  list: CopyStatus[]
  /** Of the node's clock, in its last report. */
  stampMs: number
}

type TicketAnswer = Pick<ReportAnswer, 'isTaken' | 'ticket'>

export type NodeSession = { node: string } & NodeDetails['sessions'][number]

export interface Taken {
  status: NodeStatus
  /** It was so at that time or later, on the controller's clock. */
  atMs: number
}

export class StatusIntake {
  private readonly drawTicket: () => string
  private readonly reporters = new Map<string, Reporter>()
  private byVolume: Map<string, NodeSession[]> | undefined

  constructor(drawTicket: () => string) {
    this.drawTicket = drawTicket
  }

  /** @returns what it has to say of tickets, and the whole status if the report was taken */
  take(report: NodeReport, nowMs: number): { answer: TicketAnswer; taken: Taken | undefined } {
    const { status, isWhole, gone, ticket, stampMs, facts, sessions } = report
    const { node, instance } = status
    this.byVolume = undefined
    const known = this.reporters.get(node)
    const next = this.drawTicket()
    const isKnown = known !== undefined && known.ticket === ticket && known.instance === instance
    if (!isKnown || (!isWhole && known.copies === undefined)) {
      const copies = undefined
      const said = { copies, list: [], stampMs, facts, sessions }
      this.reporters.set(node, { instance, ticket: next, ticketAtMs: nowMs, ...said })
      return { answer: { isTaken: false, ticket: next }, taken: undefined }
    }
    const copies = isWhole ? new Map<string, CopyStatus>() : known.copies!
    for (const volumeId of gone) copies.delete(volumeId)
    for (const copy of status.copies) copies.set(copy.volumeId, copy)
    const isSame = !isWhole && gone.length === 0 && status.copies.length === 0
    const list = isSame ? known.list : [...copies.values()]
    this.reporters.set(node, { instance, ticket: next, ticketAtMs: nowMs, copies, list, stampMs, facts, sessions })
    const whole = { ...status, copies: list }
    return { answer: { isTaken: true, ticket: next }, taken: { status: whole, atMs: known.ticketAtMs } }
  }

  /** What an order to that node has to carry; undefined: it has not reported. */
  addressee(node: string): { instance: string; stampMs: number } | undefined {
    const known = this.reporters.get(node)
    return known === undefined ? undefined : { instance: known.instance, stampMs: known.stampMs }
  }

  details(node: string): NodeDetails | undefined {
    return this.reporters.get(node)
  }

  /** Who uses what, through all nodes. */
  sessions(): NodeSession[] {
    return [...this.reporters].flatMap(([node, { sessions }]) => sessions.map((session) => ({ node, ...session })))
  }

  /** Of one volume. Looked up for each of many, so it is sorted once for all until somebody reports. */
  sessionsOf(volumeId: string): readonly NodeSession[] {
    if (this.byVolume === undefined) {
      this.byVolume = new Map()
      for (const session of this.sessions()) {
        const known = this.byVolume.get(session.volumeId)
        if (known === undefined) this.byVolume.set(session.volumeId, [session])
        else known.push(session)
      }
    }
    return this.byVolume.get(volumeId) ?? []
  }
}
