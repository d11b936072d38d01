// The two test protocols, both sides of each, and the opener's side of ping, whose answerer is js-libp2p's own. They
// run over any stream of js-libp2p: a data channel or one of Yamux.

export const PING = '/ipfs/ping/1.0.0'
export const ECHO = '/meganet/test/echo/1'
export const TRANSFER = '/meganet/test/transfer/1'

const TO_OPENER = 0
const TO_ANSWERER = 1
// A transfer's head: one byte of direction and the length, u64 big-endian.
const HEAD_BYTES = 9
const COUNT_BYTES = 8
const PING_BYTES = 32
// How much is handed to a stream at once unless the caller says otherwise. js-libp2p cuts it to the transport's frames.
const PIECE_BYTES = 64 * 1024

// The time to there and back. Not js-libp2p's own ping, which chooses the connection itself and counts whole
// milliseconds.
export async function openPing (stream) {
  const incoming = new Incoming(stream)
  const sent = noise(PING_BYTES)
  const started = performance.now()
  stream.send(sent)
  const back = await incoming.take(PING_BYTES)
  const ms = performance.now() - started
  mustEqual(back, sent)
  await stream.close()
  return ms
}

// Sends `bytes` pseudo-random bytes while reading, half-closes, reads to the end, and compares.
export async function openEcho (stream, bytes) {
  const incoming = new Incoming(stream)
  const sent = noise(bytes)
  const [back] = await Promise.all([
    readAll(incoming, bytes),
    writeAll(stream, sent, PIECE_BYTES).then(() => stream.close())
  ])
  mustEqual(back, sent)
  return true
}

// Sends back what arrives. It never stops reading: a paused data channel has no way to slow the sender, and js-libp2p
// resets a stream on which 4 MiB wait for a paused reader.
export async function answerEcho (stream) {
  const incoming = new Incoming(stream)
  for (let chunk = await incoming.next(); chunk != null; chunk = await incoming.next()) {
    stream.send(chunk)
  }
  await stream.close()
}

// Moves `bytes` to the answerer. The time ends when its count has arrived.
export async function openSend (stream, bytes, messageBytes = PIECE_BYTES) {
  const incoming = new Incoming(stream)
  const started = performance.now()
  const counted = incoming.take(COUNT_BYTES).then(count => ({ count: readU64(count), at: performance.now() }))
  const written = write(stream, head(TO_ANSWERER, bytes))
    .then(() => writeFill(stream, bytes, messageBytes))
    .then(async maxBuffered => {
      await stream.close()
      return maxBuffered
    })
  const [{ count, at }, maxBuffered] = await Promise.all([counted, written])
  if (count !== bytes) {
    throw new Error(`sent ${bytes} bytes, the answerer counted ${count}`)
  }
  return { bytes, elapsed_ms: at - started, max_buffered: maxBuffered }
}

// Moves `bytes` from the answerer. What is buffered over there cannot be seen from here.
export async function openReceive (stream, bytes) {
  const incoming = new Incoming(stream)
  const started = performance.now()
  await write(stream, head(TO_OPENER, bytes))
  const [received] = await Promise.all([count(incoming), stream.close()])
  if (received.bytes !== bytes) {
    throw new Error(`asked for ${bytes} bytes, ${received.bytes} came`)
  }
  return { bytes, elapsed_ms: received.at - started, max_buffered: null }
}

export async function answerTransfer (stream) {
  const incoming = new Incoming(stream)
  const asked = await incoming.take(HEAD_BYTES)
  const length = readU64(asked.subarray(1))
  if (asked[0] === TO_ANSWERER) {
    const received = await count(incoming)
    await write(stream, u64(received.bytes))
  } else if (asked[0] === TO_OPENER) {
    await writeFill(stream, length, PIECE_BYTES)
  } else {
    throw new Error(`no such direction: ${asked[0]}`)
  }
  await stream.close()
}

// What arrives on a stream, in order. Written here because js-libp2p 3.3's own iterator waits for ever for the end of a
// stream whose last data and FIN came before the iteration began, as they do on short streams.
class Incoming {
  #chunks = []
  #ended
  #error = null
  #wake = () => {}

  constructor (stream) {
    this.#ended = stream.readableEnded
    stream.addEventListener('message', event => {
      this.#chunks.push(event.data.subarray())
      this.#wake()
    })
    stream.addEventListener('end', () => {
      this.#ended = true
      this.#wake()
    })
    stream.addEventListener('close', event => {
      this.#ended = true
      this.#error = event.error ?? null
      this.#wake()
    })
  }

  // The next chunk, or null at the end. A reset is an error even if chunks are left.
  async next () {
    while (true) {
      if (this.#error != null) {
        throw this.#error
      }
      if (this.#chunks.length > 0) {
        return this.#chunks.shift()
      }
      if (this.#ended) {
        return null
      }
      await new Promise(resolve => { this.#wake = resolve })
    }
  }

  // Exactly this many bytes.
  async take (bytes) {
    const taken = new Uint8Array(bytes)
    for (let filled = 0; filled < bytes;) {
      const chunk = await this.next()
      if (chunk == null) {
        throw new Error(`the stream ended after ${filled} of ${bytes} bytes`)
      }
      const part = chunk.subarray(0, bytes - filled)
      taken.set(part, filled)
      filled += part.byteLength
      if (part.byteLength < chunk.byteLength) {
        this.#chunks.unshift(chunk.subarray(part.byteLength))
      }
    }
    return taken
  }
}

function mustEqual (back, sent) {
  const different = back.findIndex((byte, index) => byte !== sent[index])
  if (different >= 0) {
    throw new Error(`what came back differs from byte ${different} of ${sent.byteLength}`)
  }
}

async function count (incoming) {
  let bytes = 0
  for (let chunk = await incoming.next(); chunk != null; chunk = await incoming.next()) {
    bytes += chunk.byteLength
  }
  return { bytes, at: performance.now() }
}

async function readAll (incoming, bytes) {
  const all = await incoming.take(bytes)
  if (await incoming.next() != null) {
    throw new Error(`more than ${bytes} bytes came back`)
  }
  return all
}

// Sends and then waits until the stream takes more. Not with `stream.onDrain()`: in js-libp2p 3.3 that waits only the
// first time, so that the rest would pile up in memory.
async function write (stream, piece) {
  stream.send(piece)
  while (stream.writableNeedsDrain) {
    await drained(stream)
  }
}

function drained (stream) {
  return new Promise((resolve, reject) => {
    const settle = event => {
      stream.removeEventListener('drain', settle)
      stream.removeEventListener('close', settle)
      if (event.type === 'drain') {
        resolve()
      } else {
        reject(event.error ?? new Error('the stream was closed before everything was written'))
      }
    }
    stream.addEventListener('drain', settle)
    stream.addEventListener('close', settle)
  })
}

async function writeAll (stream, data, pieceBytes) {
  for (let at = 0; at < data.byteLength; at += pieceBytes) {
    await write(stream, data.subarray(at, at + pieceBytes))
  }
}

// Writes `bytes` bytes of any content, and says how much was seen waiting in the channel and in js-libp2p's queue.
async function writeFill (stream, bytes, pieceBytes) {
  const piece = noise(pieceBytes)
  let maxBuffered = 0
  for (let left = bytes; left > 0; left -= pieceBytes) {
    const written = write(stream, piece.subarray(0, Math.min(left, pieceBytes)))
    // `channel` is there on data channels only.
    maxBuffered = Math.max(maxBuffered, stream.writeBufferLength + (stream.channel?.bufferedAmount ?? 0))
    await written
  }
  return maxBuffered
}

function head (direction, bytes) {
  const head = new Uint8Array(HEAD_BYTES)
  head[0] = direction
  head.set(u64(bytes), 1)
  return head
}

function u64 (number) {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number))
  return bytes
}

function readU64 (bytes) {
  return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0))
}

// Pseudo-random bytes (xorshift32): nothing on the way can compress them, and every run sends the same.
function noise (bytes) {
  const words = new Uint32Array(Math.ceil(bytes / 4))
  let state = 0x6d656761
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[index] = state
  }
  return new Uint8Array(words.buffer, 0, bytes)
}
