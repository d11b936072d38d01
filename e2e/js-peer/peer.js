// One js-libp2p peer, the same in a tab and in Node. Every call takes and returns values that survive JSON.

import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { webRTC, webRTCDirect } from '@libp2p/webrtc'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import {
  ECHO, PING, TRANSFER, answerEcho, answerTransfer, openEcho, openPing, openReceive, openSend
} from './protocols.js'

// How long a relay may take until this peer has an address through it.
const RELAY_MS = 30_000
// How long a new connection may take until the remote has identified itself.
const IDENTIFY_MS = 10_000
const POLL_MS = 10

// Starts a peer and gives its calls. `relay` is the multiaddr of a relay to be reachable through; `stun` the URLs of
// STUN servers, none by default: js-libp2p's own list would contact third parties.
export async function startPeer ({ listen = [], relay = null, stun = [], services = {} } = {}) {
  const rtcConfiguration = { iceServers: stun.length > 0 ? [{ urls: stun }] : [] }
  const libp2p = await createLibp2p({
    addresses: { listen: relay == null ? listen : [...listen, '/webrtc', `${relay}/p2p-circuit`] },
    transports: [
      webRTC({ rtcConfiguration }),
      webRTCDirect({ rtcConfiguration }),
      circuitRelayTransport(),
      webSockets()
    ],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify(), ping: ping(), ...services },
    start: false,
    // A browser's default gater refuses private addresses and insecure WebSockets: all that a test has.
    connectionGater: { denyDialMultiaddr: () => false },
    connectionManager: {
      // All test peers share one address, which by default may open only 5 connections a second.
      inboundConnectionThreshold: 10_000,
      maxIncomingPendingConnections: 1000,
      // The default resolves dnsaddr through public DNS servers.
      resolvers: {}
    }
  })
  const peer = calls(libp2p)
  try {
    await libp2p.handle(ECHO, answering(answerEcho))
    await libp2p.handle(TRANSFER, answering(answerTransfer))
    await libp2p.start()
    if (relay != null) {
      // js-libp2p's event for a change of addresses comes a second late.
      await until(() => hasPrivateAddress(libp2p), RELAY_MS, 'no /webrtc address')
    }
  } catch (error) {
    await libp2p.stop()
    throw error
  }
  return peer
}

function calls (libp2p) {
  // js-libp2p identifies each connection as it opens, and allows one such stream at a time: ours would collide with it.
  const remotes = new WeakMap()
  libp2p.addEventListener('peer:identify', ({ detail: { connection, agentVersion, protocols } }) => {
    remotes.set(connection, { agent: agentVersion ?? null, protocols })
  })
  const addresses = () => libp2p.getMultiaddrs().map(address => address.toString())
  const dial = async address => {
    const started = performance.now()
    // Forced, or an older connection over another transport, say to a relay, is given instead.
    const connection = await libp2p.dial(multiaddr(address), { force: true }).catch(error => {
      throw new Error(`cannot dial ${address}: ${reason(error)}`, { cause: error })
    })
    if (!isDirect(connection)) {
      throw new Error(`the connection over ${connection.remoteAddr} is relayed`)
    }
    return {
      peer: connection.remotePeer.toString(),
      address: connection.remoteAddr.toString(),
      ms: performance.now() - started
    }
  }
  const on = async (peer, protocol, run) => {
    const stream = await direct(libp2p, peer).newStream(protocol)
    try {
      return await run(stream)
    } catch (error) {
      stream.abort(error)
      throw error
    }
  }
  return {
    addresses,
    about: () => ({ peerId: libp2p.peerId.toString(), addresses: addresses() }),
    dial,
    ping: async target => {
      if (target.startsWith('/') && newest(libp2p, target) == null) {
        await dial(target)
      }
      return await on(target, PING, openPing)
    },
    identified: async peer => {
      const connection = direct(libp2p, peer)
      await until(() => remotes.has(connection), IDENTIFY_MS, `no identify from ${peer}`)
      return remotes.get(connection)
    },
    echo: async (peer, bytes) => await on(peer, ECHO, stream => openEcho(stream, bytes)),
    send: async (peer, bytes, messageBytes) =>
      await on(peer, TRANSFER, stream => openSend(stream, bytes, messageBytes ?? undefined)),
    receive: async (peer, bytes) => await on(peer, TRANSFER, stream => openReceive(stream, bytes)),
    close: async peer => {
      await libp2p.hangUp(peerOf(peer))
      return null
    },
    closeAll: async () => {
      // A relayed connection cannot close in order once the relay's own has.
      const close = async connection => await connection.close().catch(error => connection.abort(error))
      await Promise.all(libp2p.getConnections().map(close))
      return null
    },
    stop: async () => {
      await libp2p.stop()
      return null
    }
  }
}

// Wraps an answerer: a failure resets its stream and is told to whoever reads the console.
function answering (answer) {
  return async stream => {
    try {
      await answer(stream)
    } catch (error) {
      console.error(`${stream.protocol}: ${error.stack ?? error}`)
      stream.abort(error)
    }
  }
}

// Polls: there is no event that comes in time for what is waited for here.
async function until (reached, ms, failure) {
  const late = performance.now() + ms
  while (!reached()) {
    if (performance.now() > late) {
      throw new Error(`${failure} in ${ms} ms`)
    }
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
}

function hasPrivateAddress (libp2p) {
  return libp2p.getMultiaddrs().some(address => address.toString().includes('/p2p-circuit/webrtc'))
}

function isDirect (connection) {
  return connection.direct && connection.limits == null
}

// js-libp2p also rejects with a WebSocket's event, and with one error for several.
function reason (error) {
  return error.errors?.map(reason).join('; ') ?? error.message ?? error.type
}

// The newest direct connection: the one a test has just dialled.
function newest (libp2p, peer) {
  return libp2p.getConnections(peerOf(peer))
    .findLast(connection => connection.status === 'open' && isDirect(connection))
}

function direct (libp2p, peer) {
  const connection = newest(libp2p, peer)
  if (connection == null) {
    throw new Error(`no direct connection to ${peer}`)
  }
  return connection
}

// A peer id, given as one or as an address that ends with it.
function peerOf (peer) {
  return peerIdFromString(peer.startsWith('/') ? peer.slice(peer.lastIndexOf('/') + 1) : peer)
}
