// js-libp2p 3 is written for Node 22. This is what Node 20 lacks of that; imported before anything of js-libp2p runs.

import { WebSocket } from 'ws'

globalThis.WebSocket ??= WebSocket
Promise.withResolvers ??= () => {
  const parts = {}
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}
