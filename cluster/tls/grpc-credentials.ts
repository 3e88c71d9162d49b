/**
 * TLS for gRPC channels, with the files that are there when a connection is made (the library's own read them once),
 * and with our judgement of who answers.
 */
import type { Socket } from 'node:net'
import { ChannelCredentials, credentials } from '@grpc/grpc-js'
import type { CallCredentials, experimental } from '@grpc/grpc-js'
import { secure } from './tls-connect.ts'
import type { SecureWish } from './tls-connect.ts'

/** Plain text without a wish. */
export const channelCredentials = (wish: SecureWish | undefined): ChannelCredentials =>
  wish === undefined ? credentials.createInsecure() : new TlsCredentials(wish)

class TlsCredentials extends ChannelCredentials {
  private readonly wish: SecureWish

  constructor(wish: SecureWish) {
    super()
    this.wish = wish
  }

  override compose(): ChannelCredentials {
    return this
  }

  override _isSecure(): boolean {
    return true
  }

  /** Channels with equal ones share connections; these are each for somebody else. */
  override _equals(other: ChannelCredentials): boolean {
    return this === other
  }

  override _createSecureConnector(
    _target: unknown, _options: unknown, callCredentials?: CallCredentials,
  ): experimental.SecureConnector {
    return {
      connect: (socket: Socket) => new Promise((resolve, reject) => {
        secure(socket, this.wish, (secured) => resolve({ socket: secured, secure: true }),
          (why) => reject(new Error(why)))
      }),
      waitForReady: () => Promise.resolve(),
      getCallCredentials: () => callCredentials ?? credentials.createEmpty(),
      destroy: () => undefined,
    }
  }
}
