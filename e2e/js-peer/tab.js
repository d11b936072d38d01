// The peer of a page. Bundled to dist/tab.js, which defines the global `jsPeer`.

import { startPeer } from './peer.js'

let peer = null

export async function start ({ relay, stun } = {}) {
  if (peer != null) {
    throw new Error('started already')
  }
  peer = await startPeer({ relay, stun })
  return peer.about()
}

export async function stop () {
  const stopped = peer
  peer = null
  await stopped?.stop()
  return null
}

export const addresses = call('addresses')
export const dial = call('dial')
export const ping = call('ping')
export const identified = call('identified')
export const echo = call('echo')
export const send = call('send')
export const receive = call('receive')
export const close = call('close')
export const closeAll = call('closeAll')

function call (name) {
  return async (...given) => {
    if (peer == null) {
      throw new Error('start comes first')
    }
    return await peer[name](...given)
  }
}
