/** Risk: who has no kernel NBD client is sent the wrong way. */
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { kernelNbd, wayToNbd } from '../../../csi/host/kernel-nbd.ts'
import { temporaryFolder } from '../../temporary-folder.ts'

t.test('by distribution, and its kin', (t) => {
  t.match(wayToNbd('ID=ubuntu\nID_LIKE=debian\n'), /linux-modules-extra/)
  t.match(wayToNbd('NAME="Debian"\nID=debian\n'), /apt-get install linux-image-/)
  t.match(wayToNbd('ID="rocky"\nID_LIKE="rhel centos fedora"\n'), /kernel-modules-extra/)
  t.match(wayToNbd('ID=talos\n'), /machine\.kernel\.modules/)
  t.match(wayToNbd('ID=bottlerocket\n'), /settings\.kernel\.modules\.nbd/)
  t.match(wayToNbd('ID=flatcar\nID_LIKE=coreos\n'), /modules-load/)
  t.match(wayToNbd('ID="sles"\nID_LIKE="suse"\n'), /kernel-default/)
  t.match(wayToNbd('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n'), /kernel-default/)
  t.match(wayToNbd('ID=something\n'), /CONFIG_BLK_DEV_NBD/)
  t.match(wayToNbd(''), /CONFIG_BLK_DEV_NBD/)
  t.end()
})

t.test('loaded, loadable, absent', (t) => {
  const root = temporaryFolder(t)
  const put = (file: string, text: string): void => {
    mkdirSync(path.dirname(path.join(root, file)), { recursive: true })
    writeFileSync(path.join(root, file), text)
  }
  put('etc/os-release', 'ID=ubuntu\n')
  t.match(kernelNbd('6.1', root), { state: 'absent', way: /modules-extra/ })
  put('lib/modules/6.1/modules.dep', 'kernel/drivers/block/nbd.ko.zst:\n')
  t.same(kernelNbd('6.1', root), { state: 'loadable' })
  put('sys/module/nbd/parameters/x', '')
  t.same(kernelNbd('6.1', root), { state: 'loaded' })
  for (const old of ['5.13.0-52-generic', '4.18.0-513.el8.x86_64', '5.10']) {
    t.match(kernelNbd(old, root), { state: 'old', way: /5\.14/ }, `${old} does not show whose a device is`)
  }
  for (const one of ['5.14.0-362.el9.x86_64', '5.14-rc1', '6.0', '10.1']) t.same(kernelNbd(one, root).state, 'loaded')
  t.end()
})
