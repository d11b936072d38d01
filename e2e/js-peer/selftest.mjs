// Proves that the peers work with each other before anything of ours is tested against them, and prints their figures:
// two tabs in two browsers over /webrtc, a tab to Node over webrtc-direct, and Node to a tab over /webrtc.

import { spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { startDriver } from './chromium.mjs'

const MIB = 1024 * 1024
const ECHO_BYTES = MIB
const TRANSFER_BYTES = 32 * MIB
const PAGE = '<!doctype html><meta charset="utf-8"><title>js peer</title><script src="/tab.js"></script>'

const dir = await mkdtemp(join(tmpdir(), 'js-peer-'))
// What to end at the end, the last first.
const ends = [() => rm(dir, { recursive: true, force: true })]
try {
  await run()
  console.log('all is well')
} catch (error) {
  console.error(error)
  process.exitCode = 1
} finally {
  for (const end of ends.reverse()) {
    await end()
  }
}

async function run () {
  const page = await servePage()
  const listen = ['/ip4/127.0.0.1/tcp/0/ws', '/ip4/127.0.0.1/udp/0/webrtc-direct']
  const relay = await startNode({ listen, relay: true })
  const relayAddress = addressWith(relay.addresses, '/ws/')
  const driver = await startDriver(dir)
  ends.push(driver.stop)
  const [a, b] = await Promise.all([driver.open('a', page), driver.open('b', page)])

  const started = performance.now()
  const [aboutA, aboutB] = await Promise.all([a('start', { relay: relayAddress }), b('start', { relay: relayAddress })])
  console.log(`both tabs reachable through the relay: ${ms(performance.now() - started)}`)

  await exercise('tab A → tab B, /webrtc', a, privateAddress(aboutB), aboutB.peerId)
  await exercise('tab B → Node, webrtc-direct', b, addressWith(relay.addresses, '/webrtc-direct/'), relay.peerId)
  const node = await startNode({ relay: relayAddress })
  await exercise('Node → tab A, /webrtc', node.call, privateAddress(aboutA), aboutA.peerId)
  await exercise('tab B → Node, /webrtc', b, privateAddress(node), node.peerId)

  for (const tab of [a, b]) {
    await tab('closeAll')
    await tab('stop')
  }
}

// Everything one peer can do with another. The relay is connected already, so the time of the dial is the time to open.
async function exercise (title, call, address, peer) {
  const dialled = await call('dial', address)
  must(dialled.peer === peer && dialled.address.includes('/webrtc'), `dialled ${dialled.address}`)
  const { agent, protocols } = await call('identified', peer)
  must(protocols.includes('/meganet/test/echo/1'), `${agent} has only ${protocols}`)
  const rtt = await call('ping', peer)
  must(await call('echo', peer, ECHO_BYTES), 'no echo')
  const sent = await call('send', peer, TRANSFER_BYTES)
  const received = await call('receive', peer, TRANSFER_BYTES)
  console.log(`${title} (${agent})`)
  console.log(`  open ${ms(dialled.ms)}, ping ${rtt.toFixed(1)} ms, echo of ${ECHO_BYTES / MIB} MiB equal`)
  console.log(`  ${TRANSFER_BYTES / MIB} MiB: sent ${rate(sent)}, received ${rate(received)}`)
  console.log(`  at most ${sent.max_buffered} bytes waited to be sent`)
}

async function servePage () {
  const script = await readFile(new URL('dist/tab.js', import.meta.url)).catch(() => {
    throw new Error('no dist/tab.js: npm run bundle comes first')
  })
  const server = createServer((request, response) => {
    const [type, body] = request.url === '/tab.js' ? ['text/javascript', script] : ['text/html', PAGE]
    response.setHeader('content-type', type).end(body)
  })
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
  ends.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${server.address().port}/`
}

async function startNode (options) {
  const script = new URL('node.mjs', import.meta.url).pathname
  const child = spawn(process.execPath, [script, JSON.stringify(options)], { stdio: ['pipe', 'pipe', 'inherit'] })
  ends.push(() => child.kill('SIGKILL'))
  const waiting = new Map()
  const ready = new Promise((resolve, reject) => {
    child.on('exit', code => {
      const gone = new Error(`node.mjs ended with ${code}`)
      reject(gone)
      waiting.forEach(call => call.reject(gone))
    })
    createInterface({ input: child.stdout }).on('line', line => {
      const said = JSON.parse(line)
      if (said.event === 'ready') {
        resolve(said)
      } else if (said.error == null) {
        waiting.get(said.id).resolve(said.result)
      } else {
        waiting.get(said.id).reject(new Error(said.error))
      }
    })
  })
  let calls = 0
  const call = async (name, ...args) => await new Promise((resolve, reject) => {
    const id = ++calls
    waiting.set(id, { resolve, reject })
    child.stdin.write(`${JSON.stringify({ id, call: name, args })}\n`)
  })
  return { ...await ready, call }
}

function privateAddress ({ addresses }) {
  return addressWith(addresses, '/ws/', '/p2p-circuit/webrtc/')
}

function addressWith (addresses, ...parts) {
  const found = addresses.find(address => parts.every(part => address.includes(part)))
  must(found != null, `no address with ${parts} in ${addresses}`)
  return found
}

function must (condition, otherwise) {
  if (!condition) {
    throw new Error(otherwise)
  }
}

function ms (number) {
  return `${Math.round(number)} ms`
}

function rate ({ bytes, elapsed_ms: elapsed }) {
  return `${(bytes / 1000 / elapsed).toFixed(1)} MB/s`
}
