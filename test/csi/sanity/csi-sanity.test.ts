/**
 * The conformance test of CSI, as its authors ship it, against `holdfast csi controller` and three real nodes:
 * Identity, Controller, GroupController. It cleans up through a Node service, which is asked here for nothing but that.
 */
// test-timeout-seconds: 1800
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import t from 'tap'
import { csiService } from '../../../csi/definition.ts'
import { identityService } from '../../../csi/identity.ts'
import { serveCsi } from '../../../csi/server.ts'
import { topologyOf } from '../../../csi/topology.ts'
import { GIB, MIB } from '../../../engine/units.ts'
import { ClusterOfDaemons } from '../../cluster/cluster-of-daemons.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { ControllerProcess } from '../controller-process.ts'
import { runSanity, sanityMissing } from './sanity-program.ts'

const skip = sanityMissing() ?? false
/** What was deleted counts until the trash lets it go. */
const DISK_BYTES = 2 * GIB

t.test('csi-sanity: every spec of the controller side', { skip, timeout: 30 * 60_000 }, async (t) => {
  const cluster = await ClusterOfDaemons.make(t, { diskBytes: DISK_BYTES })
  await cluster.start()
  const controller = new ControllerProcess(t, cluster.node('n1').paths.api)
  await controller.start()
  const folder = temporaryFolder(t)
  const nodeSocket = path.join(folder, 'node.sock')
  const node = await serveCsi({ socketPath: nodeSocket, services: servedToCleanUp(), log: () => undefined })
  t.teardown(() => node.close(0))

  const end = await runSanity([
    `--csi.endpoint=unix://${nodeSocket}`, `--csi.controllerendpoint=unix://${controller.socketPath}`,
    `--csi.mountdir=${folder}/mount`, `--csi.stagingdir=${folder}/staging`,
    `--csi.testvolumesize=${16 * MIB}`, `--csi.testvolumeexpandsize=${32 * MIB}`,
    `--csi.testvolumemutableparameters=${mutableParameters(folder)}`, '--ginkgo.skip=Node Service',
  ])
  const { ran, passed, failed, pending, skipped } = end
  t.comment(`${ran} ran: ${passed} passed, ${failed} failed, ${pending} pending, ${skipped} skipped`)
  if (end.failed > 0) t.comment(end.output)
  t.equal(end.failed, 0)
  t.ok(end.passed >= LEAST_PASSED, `${end.passed} specs passed`)
  t.notMatch(controller.log, / INTERNAL /)
})

function mutableParameters(folder: string): string {
  const file = path.join(folder, 'mutable.yaml')
  writeFileSync(file, 'holdfast.io/qos-iops: "1000"\nholdfast.io/replicas: "1"\n')
  return file
}

/** Fewer would mean that a capability is not told any more. */
const LEAST_PASSED = 50

function servedToCleanUp(): Parameters<typeof serveCsi>[0]['services'] {
  const nothing = async (): Promise<object> => ({})
  const accessibleTopology = topologyOf({ name: 'n1', zone: '' })
  return [
    identityService({ version: '0', probe: nothing, log: () => undefined }),
    {
      definition: csiService('Node'),
      calls: {
        NodeGetCapabilities: async () => ({ capabilities: [] }),
        NodeGetInfo: async () => ({ nodeId: 'n1', maxVolumesPerNode: 0, accessibleTopology }),
        NodeUnpublishVolume: nothing,
        NodeUnstageVolume: nothing,
      },
    },
  ]
}
