// Secrets as E2B's client keeps them, and the rules that put them into headers.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sandbox, SandboxError, Secret, SecretNotFoundError } from './sdk.mjs'

const VALUE = 'a-value-that-nobody-is-shown'

test('a secret is kept, changed, listed and removed, and never shown', async () => {
  const made = await Secret.create('Stripe-Live', VALUE, { metadata: { team: 'pay' } })
  assert.equal(made.name, 'stripe-live')
  assert.equal(made.version, 1)
  assert.deepEqual(made.metadata, { team: 'pay' })
  await assert.rejects(Secret.create('stripe-live', VALUE))
  const changed = await Secret.update('stripe-live', `${VALUE}-2`)
  assert.equal(changed.version, 2)
  assert.equal(changed.secretId, made.secretId)
  assert.deepEqual(await Secret.getInfo(made.secretId), changed)
  assert.equal(await Secret.exists('stripe-live'), true)
  await Secret.create('second', VALUE)
  const all = []
  const pages = Secret.list({ limit: 1 })
  while (pages.hasNext) all.push(...(await pages.nextItems()))
  assert.deepEqual(all.map((each) => each.name).sort(), ['second', 'stripe-live'])
  assert.ok(!JSON.stringify([made, changed, all]).includes(VALUE))
  assert.equal(await Secret.destroy('second'), true)
  assert.equal(await Secret.destroy('second'), false)
  assert.equal(await Secret.exists('second'), false)
  await assert.rejects(Secret.getInfo('second'), SecretNotFoundError)
})

test('a rule may name a secret, which must be there', async () => {
  const rules = (name) => ({
    rules: { 'api.stripe.test': [{ transform: { headers: { Authorization: `Bearer ${Secret.fill(name)}` } } }] },
  })
  const box = await Sandbox.create('base', { network: rules('stripe-live') })
  try {
    const seen = await box.commands.run('env; cat /proc/self/environ | tr "\\0" "\\n"')
    assert.ok(!seen.stdout.includes(VALUE))
    await box.updateNetwork({})
  } finally {
    await box.kill()
  }
  await assert.rejects(Sandbox.create('base', { network: rules('no-such') }),
    (error) => error instanceof SandboxError && error.message.includes('no-such'))
})
