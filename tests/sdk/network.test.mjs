// What goes out of a box, and its label, through a client that knows only E2B's words for it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sandbox, SandboxError } from './sdk.mjs'
import { sharedBox } from './support.mjs'

const box = sharedBox({
  metadata: { 'hako/label': 'internal' },
  allowInternetAccess: true,
  network: { allowOut: ['example.com'], denyOut: ['0.0.0.0/0'] },
})

/** The box as the API shows it, with what the client leaves out. */
async function details() {
  const answer = await fetch(`${process.env.E2B_API_URL}/sandboxes/${box.sandboxId}`, {
    headers: { 'X-API-Key': process.env.E2B_API_KEY },
  })
  return answer.json()
}

test('metadata gives a label, and the client gets what there is of what it asks for', async () => {
  assert.equal((await details()).label, 'internal')
  const began = Date.now()
  const tried = await box.commands.run('getent hosts example.com || echo none')
  assert.equal(tried.stdout.trim(), 'none')
  assert.ok(Date.now() - began < 5000, 'a denial is told at once')
})

test('rules are replaced while it runs', async () => {
  await box.updateNetwork({ allowOut: ['192.0.2.1'], denyOut: ['0.0.0.0/0'] })
  const shown = await details()
  assert.deepEqual(shown.network.allowOut, ['192.0.2.1'])
  assert.equal(shown.allowInternetAccess, false)
  await assert.rejects(box.updateNetwork({ denyOut: ['example.com'] }), SandboxError)
})

test('more than is allowed, in words of ours, is refused with the rule', async () => {
  const metadata = { 'hako/label': 'confidential', 'hako/egress': 'internet' }
  await assert.rejects(Sandbox.create('base', { metadata }),
    (error) => error instanceof SandboxError && error.message.includes('label.confidential'))
})
