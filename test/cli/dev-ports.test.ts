/** Two `holdfast dev` at the same time choose different ports, though no node listens yet. */
import net from 'node:net'
import t from 'tap'
import { claimPorts } from '../../cli/dev-ports.ts'

t.test('a port that is claimed, or in use, is not chosen', async (t) => {
  const first = await claimPorts(2)
  const [next] = await claimPorts(1)
  t.equal(new Set([...first, next]).size, 3, 'each chosen once')
  const user = net.createServer()
  await new Promise<void>((resolve) => user.listen(next! + 1, '127.0.0.1', resolve))
  t.not((await claimPorts(1))[0], next! + 1)
  user.close()
})

t.test('there are not so many', async (t) => {
  // Ports that no `holdfast dev` of a test beside this one wants.
  await t.rejects(claimPorts(201, 21_000), { code: 'port-busy', message: /port 21000 to 21199 is in use/ })
})
