/** Risk: where the kernel has no NBD client the keeper runs programs again and again, and all devices wait for them. */
import { existsSync } from 'node:fs'
import t from 'tap'
import { KernelPort } from '../../../csi/host/kernel-port.ts'

const skip = existsSync('/sys/module/nbd') ? 'the kernel here has its NBD client' : false

t.test('its module is loaded for who wants a device, and not again at once', { skip }, (t) => {
  let loads = 0
  const port = new KernelPort(() => void loads++)
  t.same(port.devices(), [])
  t.same(port.deadLinks(), [])
  t.throws(() => port.disconnect(0), { code: 'kernel-nbd' })
  t.equal(loads, 0)
  for (let time = 0; time < 3; time++) t.throws(() => port.load(), { code: 'kernel-nbd' })
  t.equal(loads, 1)
  t.end()
})
