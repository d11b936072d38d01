// Chromium under chromedriver, spoken to with plain HTTP: what the self test needs of WebDriver.

import { spawn } from 'node:child_process'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

// Where Debian's `chromium` package puts the browser. `MEGANET_CHROMIUM` names another.
const CHROMIUM = process.env.MEGANET_CHROMIUM ?? '/usr/bin/chromium'
const SCRIPT_MS = 120_000
// As in ../src/browser.rs, where all other tests have theirs.
const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-dev-shm-usage',
  '--allow-loopback-in-peer-connection',
  '--disable-features=WebRtcHideLocalIpsWithMdns',
  '--autoplay-policy=no-user-gesture-required',
  '--window-size=1280,800'
]

// Starts chromedriver on a free port. `open` starts a browser process of its own under it; `stop` ends all of them.
export async function startDriver (dir) {
  const child = spawn('chromedriver', ['--port=0'], { stdio: ['ignore', 'pipe', 'ignore'] })
  const port = await driverPort(child)
  const binary = await wrapper(dir)
  const sessions = []
  return {
    open: async (name, url) => {
      const args = [...ARGUMENTS, `--user-data-dir=${join(dir, name)}`]
      const chrome = { browserName: 'chrome', 'goog:chromeOptions': { binary, args }, timeouts: { script: SCRIPT_MS } }
      const { sessionId } = await command(port, 'POST', '/session', { capabilities: { alwaysMatch: chrome } })
      const session = `/session/${sessionId}`
      sessions.push(session)
      await command(port, 'POST', `${session}/url`, { url })
      // Calls `jsPeer.<call>(…args)` in the page.
      return async (call, ...args) => await command(port, 'POST', `${session}/execute/sync`, {
        script: 'const [call, args] = arguments; return jsPeer[call](...args)',
        args: [call, args]
      })
    },
    stop: async () => {
      await Promise.allSettled(sessions.map(session => command(port, 'DELETE', session)))
      child.kill('SIGKILL')
    }
  }
}

async function driverPort (child) {
  return await new Promise((resolve, reject) => {
    child.on('error', error => reject(new Error(`chromedriver (Debian: chromium-driver) does not start: ${error}`)))
    child.on('exit', code => reject(new Error(`chromedriver ended with ${code}`)))
    createInterface({ input: child.stdout }).on('line', line => {
      const port = /started successfully on port (\d+)/.exec(line)?.[1]
      if (port != null) {
        resolve(Number(port))
      }
    })
  })
}

async function command (port, method, path, body) {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { method, body: body && JSON.stringify(body) })
  const { value } = await response.json()
  if (!response.ok) {
    throw new Error(`${body?.args?.[0] ?? path}: ${value.message}`)
  }
  return value
}

// A script that starts Chromium so that it ends with chromedriver, also when that is killed.
async function wrapper (dir) {
  const path = join(dir, 'chromium')
  await writeFile(path, `#!/bin/sh\nexec setpriv --pdeathsig KILL -- "${CHROMIUM}" "$@"\n`)
  await chmod(path, 0o755)
  return path
}
