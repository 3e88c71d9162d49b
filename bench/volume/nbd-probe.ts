/** One connection, one read, to find the moment from which a server answers. */
import { NbdConnection, READ } from '../../cli/load/nbd-connection.ts'

/** The bytes, or undefined when the server is not there (yet) or refuses. */
export async function readOnce(
  socketPath: string,
  volume: string,
  { offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes: number },
): Promise<Buffer | undefined> {
  const connection = await NbdConnection.open(socketPath, volume, false).catch(() => undefined)
  if (connection === undefined) return undefined
  const answer = await connection.ask({ type: READ, offset: offsetBytes, length: lengthBytes })
  void connection.disconnect()
  return answer === 'closed' || answer.errno !== 0 ? undefined : answer.data
}
