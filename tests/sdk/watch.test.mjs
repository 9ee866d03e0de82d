// Watching a folder of a box.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FilesystemEventType as Type, InvalidArgumentError, NotFoundError } from './sdk.mjs'
import { deferred, sharedBox, until } from './support.mjs'

const box = sharedBox()

/** Watches and keeps what it is told. */
async function watch(path, options = {}) {
  const events = []
  const ended = deferred()
  const handle = await box.files.watchDir(path, (event) => { events.push(event) }, {
    onExit: (error) => ended.resolve(error), ...options,
  })
  return {
    handle, events, ended: ended.promise,
    has: (type, name) => until(`${type} of ${name}, among ${JSON.stringify(events)}`, () =>
      events.find((event) => event.type === type && event.name === name), 10_000),
  }
}

test('each kind of change is told, with its name', async () => {
  await box.files.makeDir('watched/sub')
  const { handle, events, has } = await watch('watched')
  await box.files.write('watched/new file.txt', 'a')
  await has(Type.CREATE, 'new file.txt')
  await has(Type.WRITE, 'new file.txt')
  await box.commands.run('chmod 600 "new file.txt"', { cwd: '/home/user/watched' })
  await has(Type.CHMOD, 'new file.txt')
  await box.files.rename('watched/new file.txt', 'watched/jiný.txt')
  await has(Type.RENAME, 'new file.txt')
  await has(Type.CREATE, 'jiný.txt')
  await box.files.remove('watched/jiný.txt')
  await has(Type.REMOVE, 'jiný.txt')

  await box.files.write('watched/sub/below', 'not told')
  await box.files.write('watched/last', 'told')
  await has(Type.CREATE, 'last')
  assert.ok(!events.some((event) => event.name.includes('below')))
  await handle.stop()
})

test('a stopped watch ends and is silent', async () => {
  await box.files.makeDir('stopped')
  const first = await watch('stopped')
  await first.handle.stop()
  await first.ended
  const second = await watch('stopped')
  await box.files.write('stopped/f', '')
  await second.has(Type.CREATE, 'f')
  assert.deepEqual(first.events, [])
  await second.handle.stop()
})

test('a recursive watch covers folders that come later', async () => {
  await box.files.makeDir('deep/a')
  const { handle, has } = await watch('deep', { recursive: true })
  await box.files.write('deep/a/one', '1')
  await has(Type.CREATE, 'a/one')
  await box.commands.run('mkdir -p b/c/d && echo x > b/c/d/two', { cwd: '/home/user/deep' })
  await has(Type.CREATE, 'b')
  await has(Type.CREATE, 'b/c/d/two')
  await box.files.write('deep/b/c/three', '3')
  await has(Type.WRITE, 'b/c/three')
  await box.files.rename('deep/b', 'deep/e')
  await has(Type.RENAME, 'b')
  await has(Type.CREATE, 'e')
  await box.files.write('deep/e/c/d/four', '4')
  await has(Type.CREATE, 'e/c/d/four')
  await handle.stop()
})

test('events carry the entry when asked to', async () => {
  await box.files.makeDir('entries')
  const { handle, has } = await watch('entries', { includeEntry: true })
  await box.files.write('entries/f', 'four')
  const created = await has(Type.CREATE, 'f')
  assert.equal(created.entry.path, '/home/user/entries/f')
  assert.equal(created.entry.type, 'file')
  await box.files.remove('entries/f')
  assert.equal((await has(Type.REMOVE, 'f')).entry, undefined)
  await handle.stop()
})

test('a watch has its time, or none', async () => {
  await box.files.makeDir('timed')
  const short = await watch('timed', { timeoutMs: 1000 })
  const long = await watch('timed', { timeoutMs: 0 })
  assert.ok(await short.ended, 'it ends with an error')
  await box.files.write('timed/f', '')
  await long.has(Type.CREATE, 'f')
  await long.handle.stop()
})

test('only folders can be watched', async () => {
  await box.files.write('plain', '')
  await assert.rejects(watch('plain'), InvalidArgumentError)
  await assert.rejects(watch('not-there'), NotFoundError)
})
