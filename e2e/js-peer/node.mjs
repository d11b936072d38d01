// The peer in Node: `node node.mjs '{"listen": […], "relay": true | "<multiaddr of a relay>", "stun": […]}'`.
// Says {"event": "ready", …} when it listens, then answers one JSON command a line. Ends with its standard input.

import './node20.mjs'
import { circuitRelayServer } from '@libp2p/circuit-relay-v2'
import { createInterface } from 'node:readline'
import { startPeer } from './peer.js'

// Standard output is the protocol: whatever js-libp2p or an answerer prints goes to the other one.
console.log = console.info = console.error

// A relay for tests: still limited, as peers must see a relayed connection as one, but far above what a test moves.
const LIMITS = {
  maxReservations: 1000,
  defaultDurationLimit: 60 * 60 * 1000,
  defaultDataLimit: 1n << 30n
}

const { relay, listen, stun } = JSON.parse(process.argv[2] ?? '{}')
const peer = await startPeer({
  listen,
  stun,
  relay: typeof relay === 'string' ? relay : null,
  services: relay === true ? { relay: circuitRelayServer({ reservations: LIMITS }) } : {}
})
say({ event: 'ready', ...peer.about() })

// Commands may overlap, as a tab's do.
createInterface({ input: process.stdin }).on('line', obey).on('close', async () => {
  await peer.stop()
  process.exit()
})

async function obey (line) {
  let id = null
  try {
    const command = JSON.parse(line)
    id = command.id
    if (!Object.hasOwn(peer, command.call)) {
      throw new Error(`no such call: ${command.call}`)
    }
    say({ id, result: await peer[command.call](...(command.args ?? [])) })
    if (command.call === 'stop') {
      process.exit()
    }
  } catch (error) {
    say({ id, error: String(error.stack ?? error) })
  }
}

function say (message) {
  process.stdout.write(`${JSON.stringify(message)}\n`)
}
