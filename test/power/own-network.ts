/**
 * A network of this process's own, for guests to be plugged into: a network namespace that the process enters, with
 * all that it starts from then on. It needs no name, and with the last of these processes it is gone, its devices
 * too, however they end.
 */
import { spawnSync } from 'node:child_process'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import koffi from 'koffi'
import { assert } from '../../engine/assert.ts'

const TUN = '/dev/net/tun'
const CLONE_NEWNET = 0x40000000
/** Where guests reach processes of this side. */
export const HUB = '10.77.0.1'
const unshare = koffi.load(null).func('int unshare(int flags)')

/** Why there can be none, or undefined. */
export function networkMissing(): string | undefined {
  if (spawnSync('unshare', ['--net', 'ip', 'link']).status !== 0) return 'needs root and iproute2, for a network'
  try {
    closeSync(openSync(TUN, 'r+'))
    return undefined
  } catch {
    return `${TUN} cannot be used here`
  }
}

function ip(...words: string[]): void {
  const { status, stderr } = spawnSync('ip', words, { encoding: 'utf8' })
  assert(status === 0, `ip ${words.join(' ')}: ${stderr}`)
}

/** For good; it is a matter of the calling thread, which is the one that opens sockets and starts processes. */
export function enterOwnNetwork(): void {
  assert(unshare(CLONE_NEWNET) === 0, 'a network namespace is entered')
  ip('link', 'set', 'lo', 'up')
  ip('address', 'add', `${HUB}/32`, 'dev', 'lo')
  // From one guest to another.
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1')
}

export interface Plug {
  device: string
  /** The guest's own address, and the one of this end. */
  address: string
  gateway: string
}

/** A wire for the n-th guest. */
export function plugFor(number: number): Plug {
  const [device, gateway, address] = [`tap${number}`, `10.77.${number}.1`, `10.77.${number}.2`]
  ip('tuntap', 'add', device, 'mode', 'tap')
  ip('address', 'add', `${gateway}/24`, 'dev', device)
  ip('link', 'set', device, 'up')
  return { device, address, gateway }
}
