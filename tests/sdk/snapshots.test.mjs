// Boxes that stand still, go on, go back and are copied.

import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { NotFoundError, Sandbox, atLeast } from './sdk.mjs'
import { runId, until } from './support.mjs'

const made = []
after(() => Promise.all(made.map((box) => box.kill())))

async function create(...words) {
  const box = await Sandbox.create(...words)
  made.push(box)
  return box
}

/** A Python that counts in memory, and answers with where it is on a port of its own. */
const COUNTER = `
import http.server, itertools
steps = itertools.count()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(next(steps)).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.HTTPServer(('127.0.0.1', 8123), Handler).serve_forever()
`

async function startCounter(box) {
  await box.files.write('/home/user/counter.py', COUNTER)
  await box.commands.run('python3 /home/user/counter.py', { background: true, timeoutMs: 0 })
  await until('the counter answers', async () => {
    const asked = await box.commands.run('curl -sf http://127.0.0.1:8123/ || true')
    return asked.stdout === '0'
  })
}

const step = async (box) =>
  Number((await box.commands.run('curl -sf http://127.0.0.1:8123/')).stdout)

test('a paused box goes on by the same handle, with what was in its memory', async () => {
  const box = await create({ timeoutMs: 300_000 })
  await startCounter(box)
  assert.equal(await step(box), 1)
  assert.equal(await box.pause(), true)
  assert.equal((await box.getInfo()).state, 'paused')
  assert.equal(await box.pause(), false)
  assert.equal(await box.isRunning(), false)
  await assert.rejects(box.commands.run('true'), { name: 'SandboxNotFoundError' })

  await box.connect({ timeoutMs: 300_000 })
  assert.equal((await box.getInfo()).state, 'running')
  assert.equal(await step(box), 2)
  // Twice, as what is kept the second time is what has changed since the first.
  await box.pause()
  const other = await Sandbox.connect(box.sandboxId, { timeoutMs: 300_000 })
  assert.equal(await step(other), 3)
  assert.equal(await step(box), 4)
})

test('files alone are kept where that is asked for', async () => {
  const box = await create({ timeoutMs: 300_000 })
  await startCounter(box)
  await box.files.write('/home/user/note', 'still here')
  await box.commands.run('sync')
  await box.pause({ keepMemory: false })
  await box.connect({ timeoutMs: 300_000 })
  assert.equal(await box.files.read('/home/user/note'), 'still here')
  await assert.rejects(step(box))
})

test('a paused box is listed and can be killed', async () => {
  const metadata = { runId, test: 'listed' }
  const box = await create({ metadata, timeoutMs: 300_000 })
  await box.pause()
  const pages = Sandbox.list({ query: { metadata, state: ['paused'] } })
  assert.deepEqual((await pages.nextItems()).map((entry) => entry.sandboxId), [box.sandboxId])
  assert.equal(await box.kill(), true)
  await assert.rejects(Sandbox.connect(box.sandboxId), NotFoundError)
})

test('at its end a box is paused, and a request wakes it', async () => {
  const box = await create({
    timeoutMs: 300_000, lifecycle: { onTimeout: 'pause', autoResume: true },
  })
  await startCounter(box)
  await box.setTimeout(1000)
  await until('the box is paused', async () => (await box.getInfo()).state === 'paused', 60_000)
  // Nobody connects: the request itself brings it back.
  assert.equal(await step(box), 1)
  const info = await box.getInfo()
  assert.equal(info.state, 'running')
  assert.ok(info.endAt - Date.now() > 200_000)
})

test('a snapshot is a template until it is deleted', async () => {
  const box = await create({ timeoutMs: 300_000 })
  await startCounter(box)
  const kept = await box.createSnapshot({ name: `kept-${process.pid}` })
  assert.equal(await step(box), 1)
  const listed = await box.listSnapshots().nextItems()
  assert.deepEqual(listed.map((entry) => entry.snapshotId), [kept.snapshotId])
  const copies = await Promise.all([1, 2].map(() => create(kept.snapshotId)))
  for (const copy of copies) assert.equal(await step(copy), 1)
  // Each goes its own way from there.
  assert.equal(await step(copies[0]), 2)
  assert.equal(await step(box), 2)
  const random = await Promise.all([box, ...copies].map(async (each) =>
    (await each.commands.run('head -c 16 /dev/urandom | od -An -tx1')).stdout))
  assert.equal(new Set(random).size, 3)
  assert.equal(await Sandbox.deleteSnapshot(kept.snapshotId), true)
  assert.equal(await Sandbox.deleteSnapshot(kept.snapshotId), false)
  await assert.rejects(Sandbox.create(kept.snapshotId))
  assert.equal(await step(copies[1]), 2)
})

test('forks go on from where their parent is', { skip: !Sandbox.fork }, async () => {
  assert.ok(atLeast(45))
  const box = await create({ timeoutMs: 300_000 })
  await startCounter(box)
  const children = await box.fork({ count: 3, timeoutMs: 120_000 })
  assert.equal(children.length, 3)
  for (const child of children) {
    assert.ok(child instanceof Sandbox, `${child}`)
    made.push(child)
  }
  const seen = await Promise.all([box, ...children].map(step))
  assert.deepEqual(seen, [1, 1, 1, 1])
  const ids = [box, ...children].map((each) => each.sandboxId)
  assert.equal(new Set(ids).size, 4)
  await children[0].files.write('/home/user/mine', 'mine')
  await assert.rejects(children[1].files.read('/home/user/mine'))
  await assert.rejects(box.files.read('/home/user/mine'))
})
