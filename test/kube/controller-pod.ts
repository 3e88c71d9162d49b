/**
 * The controller pod of the chart as processes of this machine: each container of the rendered Deployment with the
 * arguments that stand there, and with the rights of its service account. What a pod has and a process has not is
 * replaced: the path of the socket, where the control API and the Kubernetes API are.
 */
import path from 'node:path'
import type { Test } from 'tap'
import { ControllerProcess } from '../csi/controller-process.ts'
import { KubeProgram } from './kube-program.ts'
import type { Program } from './kube-binaries.ts'
import type { Json } from './rendered-chart.ts'

/** Container -> program. */
const SIDECARS: Record<string, Program> = {
  provisioner: 'csi-provisioner', attacher: 'csi-attacher', resizer: 'csi-resizer', snapshotter: 'csi-snapshotter',
}
const OURS = 'controller'
/** The one answers kubelet over HTTP, and of the other no Go module of its version is to be had. */
const LEFT_OUT = ['liveness', 'health-monitor']

export interface ControllerPodOptions {
  /** As the chart has it. */
  deployment: Json
  /** Of that Deployment, as Kubernetes made it. */
  pod: Json
  /** Of its service account. */
  kubeconfig: string
  /** Of the control API. */
  endpoint: string
  /** Of what they say. */
  folder: string
}

export class ControllerPod {
  readonly controller: ControllerProcess
  #sidecars: KubeProgram[] = []
  readonly #t: Pick<Test, 'teardown'>
  readonly #options: ControllerPodOptions

  constructor(t: Pick<Test, 'teardown'>, options: ControllerPodOptions) {
    this.#t = t
    this.#options = options
    const volumesMax = valueOf(containersOf(options).find(({ name }) => name === OURS)!, '--volumes-max')
    this.controller = new ControllerProcess(t, options.endpoint, Number(volumesMax), [
      '--events', '--kubeconfig', path.resolve(options.kubeconfig),
    ])
  }

  async start(): Promise<void> {
    const { kubeconfig, folder, pod } = this.#options
    await this.controller.start()
    for (const container of containersOf(this.#options)) {
      if (container.name === OURS || LEFT_OUT.includes(container.name)) continue
      const program = SIDECARS[container.name]
      if (program === undefined) throw new Error(`container ${container.name} of the chart is not known here`)
      const words = (container.args as string[]).map((word) =>
        word.startsWith('--csi-address=') ? `--csi-address=${this.controller.socketPath}` : word)
      const env = environmentOf(container, pod)
      const options = { words: [...words, `--kubeconfig=${path.resolve(kubeconfig)}`], env, folder }
      this.#sidecars.push(new KubeProgram(this.#t, program, options))
    }
  }

  /** By program: what Kubernetes refused it for the lack of rights, and whether it ended. */
  problems(): string[] {
    return this.#sidecars.flatMap(({ program, said, hasEnded }) => [
      ...(hasEnded ? [`${program} ended: ${said.slice(-2000)}`] : []),
      ...said.split('\n').filter((line) => /forbidden/i.test(line)).map((line) => `${program}: ${line}`),
    ])
  }

  /** The last words of all of them, for a failure that is not understood. */
  lastWords(): string[] {
    return [
      ...this.#sidecars.map(({ program, said }) => `${program}: ${said.slice(-3000)}`),
      `holdfast csi controller: ${this.controller.log.slice(-3000)}`,
    ]
  }
}

const containersOf = ({ deployment }: ControllerPodOptions): Json[] => deployment.spec.template.spec.containers

const valueOf = ({ args }: Json, flag: string): string | undefined =>
  (args as string[]).find((word) => word.startsWith(`${flag}=`))?.slice(flag.length + 1)

function environmentOf({ env = [] }: Json, { metadata }: Json): Record<string, string> {
  const fields: Record<string, string> = { 'metadata.name': metadata.name, 'metadata.namespace': metadata.namespace }
  return Object.fromEntries((env as Json[]).map(({ name, valueFrom }) => [name, fields[valueFrom.fieldRef.fieldPath]!]))
}
