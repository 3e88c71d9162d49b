/** Where plain text may be spoken: nobody from outside of this host comes in there. */
import { isIPv6 } from 'node:net'

/** @param host  a name or an address, that of IPv6 with brackets or without */
export const isLoopback = (host: string): boolean =>
  /^(127(\.\d{1,3}){3}|localhost|\[?::1\]?)$/.test(host)

/** `HOST:PORT`, with brackets where they are needed. */
export const hostAndPort = (host: string, port: number): string => `${isIPv6(host) ? `[${host}]` : host}:${port}`

/** Whether a connection can be tried there. @param text  as of `hostAndPort` */
export function isAddress(text: string): boolean {
  const [, port = ''] = /^(?:\[[0-9a-fA-F:.%]+\]|[^\s\p{Cc}:/[\]]+):([1-9]\d{0,4})$/u.exec(text) ?? []
  return port !== '' && Number(port) <= 65535
}

/** Every address of this host, which others cannot call it by. */
export const isAnyAddress = (host: string): boolean => /^(0\.0\.0\.0|::|\[::\])$/.test(host)
