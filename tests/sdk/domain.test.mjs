// Boxes under host names of their own, over TLS: the client knows a domain and a key, nothing else.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NotFoundError, Sandbox, TimeoutError } from './sdk.mjs'
import { sharedBox, until } from './support.mjs'

const box = sharedBox()
const domain = process.env.E2B_DOMAIN

test('the client finds the API and the box by the domain', async () => {
  assert.equal(box.sandboxDomain, domain)
  assert.equal(await box.isRunning(), true)
  assert.equal((await box.commands.run('echo "over $((6 * 7))"')).stdout, 'over 42\n')
  await box.files.write('f', 'by name')
  assert.equal(await box.files.read('f'), 'by name')
  assert.equal((await Sandbox.list().nextItems()).length, 1)
})

test('bytes pass whole, both ways', async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(60_000))
  const large = new Uint8Array(3_000_000).map((_, index) => bytes[index % bytes.length])
  await box.files.write('large', large.buffer)
  assert.equal(Buffer.compare(await box.files.read('large', { format: 'bytes' }), large), 0)
})

test('signed links name their box', async () => {
  await box.files.write('linked', 'by link')
  const url = await box.downloadUrl('linked', { useSignatureExpiration: 60 })
  assert.ok(url.startsWith(`https://49983-${box.sandboxId}.${domain}/`))
  assert.equal(await (await fetch(url)).text(), 'by link')
  const other = url.replace('linked', 'f')
  assert.equal((await fetch(other)).status, 401)
  const over = await box.downloadUrl('linked', { useSignatureExpiration: -60 })
  assert.match(await (await fetch(over)).text(), /signature is already expired/)
  const body = new FormData()
  body.append('file', new Blob(['up']), 'x')
  const upload = await fetch(await box.uploadUrl('uploaded'), { method: 'POST', body })
  assert.equal(upload.status, 200)
  assert.equal(await box.files.read('uploaded'), 'up')
})

test('getHost is where a service of the box is', async () => {
  await box.files.write('site/index.html', 'hello by name')
  const server = await box.commands.run('exec python3 -m http.server 8000', {
    background: true, cwd: '/home/user/site', timeoutMs: 0,
  })
  const url = `https://${box.getHost(8000)}/`
  await until('the service answers', async () => (await fetch(url)).status === 200)
  assert.equal(await (await fetch(url)).text(), 'hello by name')
  await server.kill()
  const closed = await fetch(`https://${box.getHost(8001)}/`)
  assert.equal(closed.status, 502)
  assert.equal((await closed.json()).port, 8001)
})

test('a killed box is gone under its name, too', async () => {
  const other = await Sandbox.create()
  const command = await other.commands.run('sleep 63', { background: true })
  const ended = assert.rejects(command.wait(), TimeoutError)
  await other.kill()
  await ended
  assert.equal(await other.isRunning(), false)
  await assert.rejects(other.getInfo(), NotFoundError)
})
