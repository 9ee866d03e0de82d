// Every tool, on real boxes, with the protocol's own client.

import assert from 'node:assert/strict'
import http from 'node:http'
import { after, before, test } from 'node:test'
import { McpError, called, connect, until } from './client.mjs'

let client, call, raw, box
const text = (result) => result.content[0].text

before(async () => {
  ;({ client, call, raw } = await connect())
  box = (await call('box_create', { ttl_seconds: 600, metadata: { of: 'mcp' } })).box
})

after(async () => {
  if (box) await call('box_kill', { box })
  await client.close()
})

const run = (command, more = {}, options) => call('box_run', { box, command, ...more }, options)

/** How many processes of the box have this in their command line, but for whoever looks. */
async function count(words) {
  const pattern = `[${words[0]}]${words.slice(1)}`
  const script = `for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline 2>/dev/null && echo; done |
    grep -v 'hako grep' | grep -c '${pattern}' || true`
  return Number((await run(script)).stdout)
}

test('the server introduces itself', () => {
  assert.equal(client.getServerVersion().name, 'hako')
  assert.match(client.getServerVersion().version, /^\d+\.\d+/)
  assert.deepEqual(Object.keys(client.getServerCapabilities()), ['tools'])
  assert.match(client.getInstructions(), /box_create/)
})

test('tools are described in full', async () => {
  const { tools } = await client.listTools()
  assert.ok(tools.length >= 15)
  for (const tool of tools) {
    assert.match(tool.name, /^[a-z][a-z_]{1,63}$/)
    assert.ok(tool.title && tool.description.length > 20)
    assert.equal(tool.inputSchema.additionalProperties, false)
    assert.ok(tool.outputSchema.properties)
    for (const hint of ['readOnlyHint', 'destructiveHint', 'idempotentHint', 'openWorldHint']) {
      assert.equal(typeof tool.annotations[hint], 'boolean', `${tool.name} ${hint}`)
    }
    for (const property of Object.values(tool.inputSchema.properties)) {
      assert.ok(property.type && property.description)
    }
  }
  const named = Object.fromEntries(tools.map((tool) => [tool.name, tool]))
  assert.equal(named.box_read_file.annotations.readOnlyHint, true)
  assert.equal(named.box_kill.annotations.destructiveHint, true)
  assert.equal(named.box_run.annotations.openWorldHint, true)
  assert.deepEqual(named.box_run.inputSchema.required, ['box', 'command'])
})

test('commands run', async () => {
  const done = await run('echo out; echo err >&2; exit 3')
  assert.equal(done.exit_code, 3)
  assert.equal(done.stdout, 'out\n')
  assert.equal(done.stderr, 'err\n')
  assert.equal(done.truncated, false)
  assert.equal((await run('pwd; echo $WHAT', { cwd: '/usr', env: { WHAT: 'äöü' } })).stdout,
    '/usr\näöü\n')
  assert.equal((await run('cat; echo end', { stdin: 'a\nb\n' })).stdout, 'a\nb\nend\n')
  assert.equal((await run('cat; echo none')).stdout, 'none\n')
  assert.equal((await run('id -un', { user: 'root' })).stdout, 'root\n')
  assert.equal((await run('kill -TERM $$')).ended_by, 'signal: terminated')
  // The structured answer is also there as text, for clients that know nothing else.
  const result = await raw('box_run', { box, command: 'echo 1' })
  assert.deepEqual(JSON.parse(text(result)), result.structuredContent)
})

test('commands have a time, and what they started ends with them', async () => {
  const done = await run('echo begun; sleep 9176 & sleep 9177', { timeout_seconds: 2 })
  assert.equal(done.timed_out, true)
  assert.equal(done.exit_code, -1)
  assert.equal(done.stdout, 'begun\n')
  await until('the end of all', async () => (await count('sleep 917')) === 0)
})

test('long output is cut, kept, and read on', async () => {
  const done = await run('seq 1 400000; seq 1 3 >&2', { max_output_bytes: 4096 })
  const expected = Array.from({ length: 400_000 }, (_, i) => `${i + 1}\n`).join('')
  assert.equal(done.truncated, true)
  assert.equal(done.stdout_bytes, expected.length)
  assert.ok(done.stdout.length <= 2048 && expected.startsWith(done.stdout))
  assert.ok(done.stdout_end.length <= 2048 && expected.endsWith(done.stdout_end))
  assert.equal(done.stderr, '1\n2\n3\n')
  assert.equal(done.stderr_file, undefined)
  let all = done.stdout
  let offset = done.stdout_next_offset
  while (offset !== undefined) {
    const part = await call('box_read_file', {
      box, path: done.stdout_file, offset, limit: 256 * 1024,
    })
    assert.equal(part.size, expected.length)
    all += part.content
    offset = part.next_offset
  }
  assert.equal(all, expected)
})

test('output that is no text, and cut characters', async () => {
  const done = await run(String.raw`printf 'a\377b'`)
  assert.equal(done.stdout, 'a?b')
  assert.equal(done.stdout_bytes, 3)
  const letters = await run('for i in $(seq 3000); do printf ä; done', { max_output_bytes: 1025 })
  assert.match(letters.stdout, /^ä+$/)
  assert.match(letters.stdout_end, /^ä+$/)
})

test('output without end does not fill anything', async () => {
  const done = await run('yes', { timeout_seconds: 3 })
  assert.equal(done.timed_out, true)
  assert.match(done.stdout, /^(y\n)+$/)
  assert.ok(done.stdout_bytes > 100_000)
  const kept = await run(`stat -c %s ${done.stdout_file}`)
  assert.ok(Number(kept.stdout) <= 64 << 20)
})

test('progress is told', async () => {
  const seen = []
  await run('for i in 1 2 3 4; do echo step $i; sleep 1; done', {}, {
    onprogress: (progress) => seen.push(progress),
  })
  assert.ok(seen.length >= 2)
  seen.reduce((before, now) => {
    assert.ok(now.progress > before.progress)
    return now
  })
  assert.match(seen.at(-1).message, /bytes of output: step \d/)
})

test('a cancelled command ends in the box', async () => {
  const stop = new AbortController()
  const running = run('sleep 9186 & sleep 9187', { timeout_seconds: 600 }, { signal: stop.signal })
  running.catch(() => {})
  await until('its begin', async () => (await count('sleep 918')) >= 2)
  stop.abort('enough')
  await assert.rejects(running, /enough/)
  await until('its end', async () => (await count('sleep 918')) === 0)
})

test('files are written, read, edited and listed', async () => {
  const path = '/home/user/new folder/ä.txt'
  const written = await call('box_write_file', { box, path, content: 'one\ntwo\ntwo\n' })
  assert.deepEqual(written, { path, bytes: 12 })
  const read = await call('box_read_file', { box, path })
  assert.deepEqual(read, {
    content: 'one\ntwo\ntwo\n', encoding: 'utf-8', offset: 0, bytes: 12, size: 12,
  })
  const part = await call('box_read_file', { box, path, offset: 4, limit: 3 })
  assert.equal(part.content, 'two')
  assert.equal(part.next_offset, 7)
  assert.equal((await call('box_read_file', { box, path, offset: 500 })).content, '')

  const edit = (old_text, new_text, more = {}) =>
    call('box_edit_file', { box, path, old_text, new_text, ...more })
  assert.equal((await edit('one', '1')).replaced, 1)
  await assert.rejects(edit('two', '2'), /is there 2 times/)
  await assert.rejects(edit('three', '3'), /not in the file/)
  assert.equal((await edit('two', '2', { all: true })).replaced, 2)
  assert.equal((await run(`cat '${path}'`)).stdout, '1\n2\n2\n')

  const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  await call('box_write_file', { box, path: 'bytes', content: bytes.toString('base64'),
    encoding: 'base64' })
  const back = await call('box_read_file', { box, path: 'bytes' })
  assert.equal(back.encoding, 'base64')
  assert.deepEqual(Buffer.from(back.content, 'base64'), bytes)
  assert.match((await call('box_read_file', { box, path: '/proc/version' })).content, /^Linux/)

  const listed = await call('box_list_files', { box, path: '/home/user', depth: 2 })
  const entry = listed.entries.find((one) => one.path === path)
  assert.equal(entry.type, 'file')
  assert.equal(entry.size, 6)
  await run('mkdir many && cd many && seq 1 700 | xargs touch')
  const first = await call('box_list_files', { box, path: '/home/user/many' })
  assert.equal(first.total, 700)
  const rest = await call('box_list_files', { box, path: '/home/user/many', offset: first.next_offset })
  assert.equal(first.entries.length + rest.entries.length, 700)
  assert.equal(rest.next_offset, undefined)
})

test('a service in a box is reached from outside', async () => {
  const served = await run('mkdir -p www && echo hello >www/index.html && ' +
    'exec python3 -m http.server -d www 8123', { background: true })
  assert.ok(served.pid > 0)
  const at = await call('box_expose_port', { box, port: 8123 })
  assert.ok(at.url.includes(`8123-${box}.`))
  const get = () => new Promise((resolve) => {
    const request = http.get(at.gate, { headers: { host: at.host, ...at.headers } })
    request.on('error', () => resolve(''))
    request.on('response', async (response) => {
      let body = ''
      for await (const piece of response) body += piece
      resolve(body)
    })
  })
  await until('the service', async () => (await get()) === 'hello\n')
  assert.match((await call('box_read_file', { box, path: served.output_file })).content, /GET/)
  await run(`kill -- -${served.pid}`)
  await until('its end', async () => (await count('http.server')) === 0)
})

test('states: snapshots, forks, pauses', async () => {
  await run('echo first >state')
  const { snapshot } = await call('box_snapshot', { box })
  await run('echo second >state')
  const listed = await call('snapshot_list', { box })
  assert.ok(listed.snapshots.some((one) => one.snapshot === snapshot))
  await call('box_rollback', { box, snapshot })
  assert.equal((await run('cat state')).stdout, 'first\n')

  const { boxes } = await call('box_fork', { box, count: 1, ttl_seconds: 120 })
  const child = boxes[0]
  await call('box_run', { box: child, command: 'echo child >state' })
  assert.equal((await run('cat state')).stdout, 'first\n')
  await call('box_pause', { box: child })
  await call('box_pause', { box: child })
  assert.equal((await call('box_info', { box: child })).state, 'paused')
  const paused = await call('box_list', { state: 'paused' })
  assert.ok(paused.boxes.some((one) => one.box === child))
  assert.equal((await call('box_resume', { box: child })).state, 'running')
  const after = await call('box_run', { box: child, command: 'cat state' })
  assert.equal(after.stdout, 'child\n')
  assert.equal((await call('box_kill', { box: child })).done, 'destroyed')
  assert.equal((await call('box_kill', { box: child })).done, 'it was not there')
  await assert.rejects(call('box_info', { box: child }), /not_found/)

  const before = Date.parse((await call('box_info', { box })).ends_at)
  await call('box_set_timeout', { box, ttl_seconds: 1200 })
  assert.ok(Date.parse((await call('box_info', { box })).ends_at) > before)
})

test('what a model gets wrong it is told', async () => {
  const wrong = async (name, args, words) => {
    const result = await raw(name, args)
    assert.equal(result.isError, true, name)
    assert.match(text(result), words)
  }
  await wrong('box_run', { box }, /'command' is required/)
  await wrong('box_run', { box, command: 1 }, /'command' must be a text/)
  await wrong('box_run', { box, command: 'true', timeout: 5 }, /'timeout' is not a parameter/)
  await wrong('box_run', { box, command: 'true', timeout_seconds: 0 }, /from 1 to 86400/)
  await wrong('box_info', { box: '../../etc' }, /must be the id of a box/)
  await wrong('box_info', { box: 'iaaaaaaaaaaaaaaaaaaaa' }, /not_found/)
  await wrong('box_run', { box: 'iaaaaaaaaaaaaaaaaaaaa', command: 'true' }, /not_found/)
  await wrong('box_create', { label: 'top' }, /one of: public, internal/)
  await wrong('box_create', { template: 'nosuch' }, /not_found|nosuch/)
  await wrong('box_create', { egress: 'internet' }, /egress/)
  await wrong('box_read_file', { box, path: '/nowhere' }, /not_found|not exist|nowhere/)
  await wrong('box_read_file', { box, path: '/etc' }, /directory/)
  await wrong('box_run', { box, command: 'true', cwd: '/nowhere' }, /does not exist/)
  await wrong('box_rollback', { box, snapshot: 's-aaaaaaaaaaaaaaaaaaaa' }, /not_found/)
  await assert.rejects(raw('box_destroy_everything', {}), (error) => {
    called.delete('box_destroy_everything')
    return error instanceof McpError && error.code === -32602 && /Unknown tool/.test(error.message)
  })
})

test('many at once', async () => {
  const numbers = Array.from({ length: 12 }, (_, i) => i)
  const done = await Promise.all(numbers.map((i) => run(`sleep 0.3; echo ${i}`)))
  assert.deepEqual(done.map((one) => Number(one.stdout)), numbers)
})

test('no tool was left out', async () => {
  const { tools } = await client.listTools()
  assert.deepEqual([...called].sort(), tools.map((tool) => tool.name).sort())
})
