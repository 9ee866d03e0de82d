// What stands between the world and a box: its token, signed links, and the ports of its services.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sandbox } from './sdk.mjs'
import { sharedBox, throughHeaders, throughHost, until } from './support.mjs'

const box = sharedBox()

const rpc = (method, headers = {}) => throughHeaders(box, 49983, `/process.Process/${method}`, {
  method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json', ...headers },
})

test('nothing but health answers without the token', async () => {
  await box.files.write('secret', 's')
  for (const headers of [{}, { 'X-Access-Token': 'wrong' }]) {
    assert.equal((await rpc('List', headers)).status, 401)
    const file = await throughHeaders(box, 49983, '/files?path=secret', { headers })
    assert.equal(file.status, 401)
    assert.equal((await throughHeaders(box, 49983, '/envs', { headers })).status, 401)
  }
  assert.equal((await throughHeaders(box, 49983, '/health')).status, 204)
  const other = await Sandbox.create()
  const theirs = await throughHeaders({ sandboxId: box.sandboxId }, 49983, '/files?path=secret', {
    headers: { 'X-Access-Token': other.envdAccessToken },
  })
  assert.equal(theirs.status, 401)
  await other.kill()
})

test('the inner controls of a box are not reachable', async () => {
  for (const path of ['/init', '/freeze', '/upgrade']) {
    const response = await throughHeaders(box, 49983, path, {
      method: 'POST', body: '{}', headers: { 'X-Access-Token': box.envdAccessToken },
    })
    assert.equal(response.status, 404)
  }
})

test('a signed link reads a file, that one only', async () => {
  await box.files.write('shared.txt', 'to be shared 箱')
  await box.files.write('kept.txt', 'not')
  const url = await box.downloadUrl('shared.txt')
  const response = await fetch(url)
  assert.equal(response.status, 200)
  assert.equal(await response.text(), 'to be shared 箱')
  assert.equal((await fetch(url.replace('shared.txt', 'kept.txt'))).status, 401)
  assert.equal((await fetch(url, { method: 'POST', body: form('x') })).status, 401)
  const asRoot = new URL(url)
  asRoot.searchParams.set('username', 'root')
  assert.equal((await fetch(asRoot)).status, 401)
})

function form(text) {
  const body = new FormData()
  body.append('file', new Blob([text]), 'name.txt')
  return body
}

test('a signed link writes a file', async () => {
  const url = await box.uploadUrl('incoming/a b.txt')
  const response = await fetch(url, { method: 'POST', body: form('brought') })
  assert.equal(response.status, 200)
  assert.equal((await response.json())[0].path, '/home/user/incoming/a b.txt')
  assert.equal(await box.files.read('incoming/a b.txt'), 'brought')
  const asRoot = await box.uploadUrl('/root/made', { user: 'root' })
  assert.equal((await fetch(asRoot, { method: 'POST', body: form('by root') })).status, 200)
  assert.equal(await box.files.read('/root/made', { user: 'root' }), 'by root')
})

test('a link lives as long as it says', async () => {
  await box.files.write('for-a-while', 'w')
  const url = await box.downloadUrl('for-a-while', { useSignatureExpiration: 60 })
  assert.equal((await fetch(url)).status, 200)
  const over = await box.downloadUrl('for-a-while', { useSignatureExpiration: -60 })
  const response = await fetch(over)
  assert.equal(response.status, 401)
  assert.match(await response.text(), /signature is already expired/)
  const longer = new URL(over)
  longer.searchParams.set('signature_expiration', `${Math.floor(Date.now() / 1000) + 600}`)
  assert.equal((await fetch(longer)).status, 401)
  const upload = await box.uploadUrl('late', { useSignatureExpiration: -60 })
  assert.equal((await fetch(upload, { method: 'POST', body: form('x') })).status, 401)
})

test('a service in the box is reached by header and by host', async () => {
  await box.files.write('site/index.html', 'hello from the box')
  const server = await box.commands.run('exec python3 -u -m http.server 8000 --bind 127.0.0.1', {
    background: true, cwd: '/home/user/site', timeoutMs: 0,
  })
  const host = box.getHost(8000)
  assert.match(host, new RegExp(`^8000-${box.sandboxId}\\.`))
  await until('the service answers', async () => (await throughHeaders(box, 8000)).status === 200)
  assert.equal(await (await throughHeaders(box, 8000)).text(), 'hello from the box')
  assert.deepEqual(await throughHost(host), { status: 200, body: 'hello from the box' })
  assert.equal((await throughHost(host, '/none')).status, 404)
  await server.kill()
})

test('a closed port and an unknown box are told apart', async () => {
  const closed = await throughHeaders(box, 8001)
  assert.equal(closed.status, 502)
  const { message, ...rest } = await closed.json()
  assert.deepEqual(rest, { sandboxId: box.sandboxId, port: 8001, code: 502 })
  assert.equal(message, 'The sandbox is running but port is not open')
  const unknown = await throughHeaders({ sandboxId: 'i00000000000000000000' }, 49983, '/health')
  assert.equal(unknown.status, 502)
  assert.deepEqual(await unknown.json(), {
    sandboxId: 'i00000000000000000000', message: 'The sandbox was not found', code: 502,
  })
})

test('a box without a token needs none', async (t) => {
  const open = await Sandbox.create({ secure: false })
  if (open.envdAccessToken) {
    // 2.51 has no insecure boxes any more: the option is not even sent.
    await open.kill()
    return t.skip('this client makes secure boxes only')
  }
  await open.files.write('f', 'open')
  const response = await throughHeaders(open, 49983, '/files?path=f')
  assert.equal(await response.text(), 'open')
  const url = await open.downloadUrl('f')
  assert.ok(!url.includes('signature'))
  await open.kill()
})
