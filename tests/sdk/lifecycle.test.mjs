// Creating boxes, finding them again, and ending them.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import {
  AuthenticationError, NotFoundError, Sandbox, SandboxError, TimeoutError,
} from './sdk.mjs'
import { runId, until } from './support.mjs'

const made = []
after(() => Promise.all(made.map((box) => box.kill())))

async function create(...words) {
  const box = await Sandbox.create(...words)
  made.push(box)
  return box
}

async function all(options) {
  const pages = Sandbox.list(options)
  const found = []
  while (pages.hasNext) found.push(...await pages.nextItems())
  return found
}

const seconds = (info) => (info.endAt - info.startedAt) / 1000

test('a box by default is the base template, secure, for five minutes', async () => {
  const box = await create()
  assert.match(box.sandboxId, /^[a-z0-9]+$/)
  const info = await box.getInfo()
  assert.equal(info.sandboxId, box.sandboxId)
  assert.equal(info.state, 'running')
  assert.equal(info.name ?? info.templateId, 'base')
  assert.ok(Math.abs(seconds(info) - 300) < 20, `it lives ${seconds(info)} s`)
  assert.ok(info.cpuCount >= 1 && info.memoryMB >= 128)
  assert.match(info.envdVersion, /^v?\d+\.\d+\.\d+/)
  assert.deepEqual(info.metadata ?? {}, {})
  assert.equal(await box.isRunning(), true)
})

test('metadata, variables and the time to live are the given ones', async () => {
  const metadata = { runId, 'a b': 'c&d=e', 箱: 'ž%2F+' }
  const box = await create('base', { timeoutMs: 61_000, metadata, envs: { GREETING: 'ahoj "箱"' } })
  const info = await Sandbox.getInfo(box.sandboxId)
  assert.deepEqual(info.metadata, metadata)
  assert.ok(Math.abs(seconds(info) - 61) < 15, `it lives ${seconds(info)} s`)
  assert.equal((await box.commands.run('printf %s "$GREETING"')).stdout, 'ahoj "箱"')

  const found = await all({ query: { metadata } })
  assert.deepEqual(found.map((entry) => entry.sandboxId), [box.sandboxId])
  assert.deepEqual(found[0].metadata, metadata)
  assert.deepEqual(await all({ query: { metadata: { ...metadata, 'a b': 'other' } } }), [])
})

test('lists come in pages, filtered and in order', async () => {
  const query = { metadata: { runId, test: 'pages' } }
  const began = new Date()
  const ids = []
  for (const _ of [1, 2, 3]) {
    ids.push((await create({ metadata: query.metadata })).sandboxId)
  }
  const pages = Sandbox.list({ query, limit: 2 })
  assert.equal(pages.hasNext, true)
  const first = await pages.nextItems()
  assert.deepEqual(first.map((entry) => entry.sandboxId), [ids[2], ids[1]])
  assert.equal(pages.hasNext, true)
  assert.ok(pages.nextToken)
  const again = Sandbox.list({ query, limit: 2, nextToken: pages.nextToken })
  assert.deepEqual((await again.nextItems()).map((entry) => entry.sandboxId), [ids[0]])
  const second = await pages.nextItems()
  assert.deepEqual(second.map((entry) => entry.sandboxId), [ids[0]])
  assert.equal(pages.hasNext, false)
  await assert.rejects(pages.nextItems())

  assert.equal((await all({ query: { ...query, state: ['running'] } })).length, 3)
  assert.equal((await all({ query: { ...query, state: ['paused'] } })).length, 0)
  assert.equal((await all({ query: { ...query, state: ['running', 'paused'] } })).length, 3)
})

test('lists can be turned round and cut by start and template', async (t) => {
  const metadata = { runId, test: 'order' }
  const first = await create({ metadata })
  const middle = (await first.getInfo()).startedAt
  const second = await create({ metadata })
  const ids = async (options) => (await all(options)).map((entry) => entry.sandboxId)
  assert.deepEqual(await ids({ query: { metadata }, order: 'asc' }),
    [first.sandboxId, second.sandboxId])
  const later = new Date(middle.getTime() + 1)
  assert.deepEqual(await ids({ query: { metadata, startedAfter: later } }), [second.sandboxId])
  assert.deepEqual(await ids({ query: { metadata, startedAfter: middle } }),
    [second.sandboxId, first.sandboxId])
  assert.deepEqual(await ids({ query: { metadata, template: 'base' } }),
    [second.sandboxId, first.sandboxId])
  assert.deepEqual(await ids({ query: { metadata, template: 'no-such-template' } }), [])
})

test('a second handle is the same box, and only ever lengthens its life', async () => {
  const box = await create({ timeoutMs: 200_000 })
  await box.files.write('note', 'from the first')
  const before = (await box.getInfo()).endAt

  const other = await Sandbox.connect(box.sandboxId, { timeoutMs: 30_000 })
  assert.equal(await other.files.read('note'), 'from the first')
  assert.deepEqual((await box.getInfo()).endAt, before)
  await other.connect({ timeoutMs: 900_000 })
  assert.ok((await box.getInfo()).endAt - before > 600_000)
})

test('setTimeout counts from now, either way', async () => {
  const box = await create({ timeoutMs: 300_000 })
  await box.setTimeout(900_000)
  const left = async () => ((await box.getInfo()).endAt - Date.now()) / 1000
  assert.ok(Math.abs(await left() - 900) < 15, `${await left()} s are left`)
  await Sandbox.setTimeout(box.sandboxId, 20_000)
  assert.ok(Math.abs(await left() - 20) < 10, `${await left()} s are left`)
})

test('a box whose time is over is gone', async () => {
  const box = await create({ timeoutMs: 300_000 })
  await box.setTimeout(1000)
  await until('the box ends', async () => !(await box.isRunning()), 30_000)
  await assert.rejects(box.getInfo(), NotFoundError)
  await assert.rejects(box.commands.run('true'), (error) =>
    error instanceof TimeoutError || error instanceof NotFoundError)
})

test('kill ends a box, once', async () => {
  const box = await create({ metadata: { runId, test: 'kill' } })
  assert.equal(await box.kill(), true)
  assert.equal(await box.isRunning(), false)
  assert.equal(await box.kill(), false)
  assert.equal(await Sandbox.kill(box.sandboxId), false)
  assert.deepEqual(await all({ query: { metadata: { runId, test: 'kill' } } }), [])
  await assert.rejects(Sandbox.connect(box.sandboxId), NotFoundError)
  await assert.rejects(box.setTimeout(10_000), NotFoundError)
  await assert.rejects(box.files.read('note'), TimeoutError)
})

test('what is unknown or not allowed has its own error', async () => {
  const unknown = 'i00000000000000000000'
  await assert.rejects(Sandbox.getInfo(unknown), NotFoundError)
  await assert.rejects(Sandbox.connect(unknown), NotFoundError)
  await assert.rejects(Sandbox.setTimeout(unknown, 1000), NotFoundError)
  assert.equal(await Sandbox.kill(unknown), false)
  const stranger = { apiKey: `e2b_${'0'.repeat(40)}` }
  await assert.rejects(Sandbox.create(stranger), AuthenticationError)
  await assert.rejects(Sandbox.list(stranger).nextItems(), AuthenticationError)
  await assert.rejects(Sandbox.create('no-such-template'), (error) =>
    error instanceof SandboxError && /404/.test(error.message))
  await assert.rejects(Sandbox.create({ timeoutMs: -1000 }), (error) =>
    error instanceof SandboxError && /400/.test(error.message))
})

test('metrics of a running box', async () => {
  const box = await create()
  const { startedAt } = await box.getInfo()
  const metrics = await until('a first measurement', async () => {
    const list = await box.getMetrics()
    return list.length > 0 && list
  }, 30_000)
  const last = metrics.at(-1)
  assert.ok(last.timestamp >= startedAt)
  assert.ok(last.cpuCount >= 1 && last.cpuUsedPct >= 0)
  assert.ok(last.memTotal > 100 * 2 ** 20 && last.memUsed > 0 && last.memUsed < last.memTotal)
  assert.ok(last.diskTotal > 0 && last.diskUsed >= 0 && last.diskUsed <= last.diskTotal)
  assert.deepEqual(await box.getMetrics({
    start: new Date(startedAt - 3_600_000), end: new Date(startedAt - 1_800_000),
  }), [])
  await assert.rejects(Sandbox.getMetrics('i00000000000000000000'), NotFoundError)
})

test('twelve creates at once are twelve boxes', async () => {
  const boxes = await Promise.all(Array.from({ length: 12 }, () => create()))
  assert.equal(new Set(boxes.map((box) => box.sandboxId)).size, 12)
  const names = await Promise.all(boxes.map((box) => box.commands.run('cat /etc/machine-id')))
  assert.equal(new Set(names.map((result) => result.stdout)).size, 12)
})
