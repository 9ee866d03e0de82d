// Files of a box.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  FileNotFoundError, FileType, InvalidArgumentError, NotEnoughSpaceError, NotFoundError,
} from './sdk.mjs'
import { numberedBytes, sharedBox } from './support.mjs'

const box = sharedBox()

const streamOf = (bytes, piece = 65_536) => new ReadableStream({
  start(controller) { this.at = 0 },
  pull(controller) {
    if (this.at >= bytes.length) return controller.close()
    controller.enqueue(bytes.subarray(this.at, this.at + piece))
    this.at += piece
  },
})

async function gather(stream) {
  const pieces = []
  for await (const piece of stream) pieces.push(piece)
  return new Uint8Array(Buffer.concat(pieces))
}

test('text goes in and comes out', async () => {
  const info = await box.files.write('note.txt', 'hello 箱\n')
  assert.equal(info.path, '/home/user/note.txt')
  assert.equal(info.name, 'note.txt')
  assert.equal(info.type, FileType.FILE)
  assert.equal(await box.files.read('note.txt'), 'hello 箱\n')
  assert.equal(await box.files.read('/home/user/note.txt'), 'hello 箱\n')
  assert.equal((await box.commands.run('cat note.txt; stat -c %U:%G note.txt')).stdout,
    'hello 箱\nuser:user\n')
  await box.files.write('note.txt', 'less')
  assert.equal(await box.files.read('note.txt'), 'less')
  await box.files.write('empty', '')
  assert.equal(await box.files.read('empty'), '')
})

test('bytes, blobs and streams are the same file', async () => {
  const bytes = numberedBytes(300_001, 1)
  const given = { bytes: bytes.buffer, blob: new Blob([bytes]), stream: streamOf(bytes) }
  for (const [name, data] of Object.entries(given)) {
    await box.files.write(`given/${name}`, data)
  }
  const { stdout } = await box.commands.run(
    'for name in bytes blob stream; do sha256sum < given/$name; done')
  assert.equal(new Set(stdout.trim().split('\n')).size, 1)
  assert.deepEqual(await box.files.read('given/stream', { format: 'bytes' }), bytes)
  const blob = await box.files.read('given/bytes', { format: 'blob' })
  assert.deepEqual(new Uint8Array(await blob.arrayBuffer()), bytes)
  assert.deepEqual(await gather(await box.files.read('given/blob', { format: 'stream' })), bytes)
})

for (const options of [{ gzip: true }, { useOctetStream: true }, { useOctetStream: false },
  { gzip: true, useOctetStream: true }]) {
  test(`uploads with ${JSON.stringify(options)}`, async () => {
    const bytes = numberedBytes(200_000, 2)
    const info = await box.files.write('options/one', bytes.buffer, options)
    assert.equal(info.path, '/home/user/options/one')
    assert.deepEqual(await box.files.read('options/one', { format: 'bytes' }), bytes)
    assert.deepEqual(await box.files.read('options/one', { format: 'bytes', gzip: true }), bytes)
    const several = await box.files.write([
      { path: 'options/two', data: 'two' }, { path: '/tmp/three', data: 'three' },
    ], options)
    assert.deepEqual(several.map((entry) => entry.path).sort(),
      ['/home/user/options/two', '/tmp/three'])
    assert.equal(await box.files.read('/tmp/three', options), 'three')
  })
}

test('several files at once, and none', async () => {
  const entries = Array.from({ length: 20 }, (_, i) => ({
    path: `many/deep ${i}/file-${i}.txt`, data: i % 2 ? `number ${i}` : new Blob([`number ${i}`]),
  }))
  const infos = await box.files.write(entries)
  assert.deepEqual(infos.map((info) => info.path), entries.map((e) => `/home/user/${e.path}`))
  const texts = await Promise.all(entries.map((entry) => box.files.read(entry.path)))
  assert.deepEqual(texts, entries.map((_, i) => `number ${i}`))
  assert.deepEqual(await box.files.write([]), [])
  assert.equal((await box.files.writeFiles([{ path: 'many/alone', data: 'a' }])).length, 1)
})

test('names of all kinds', async () => {
  const names = ['žluťoučký kůň.txt', '箱/はこ.txt', 'a b&c=d?e#f%20.txt', "it's", 'tab\there']
  for (const name of names) {
    const info = await box.files.write(`names/${name}`, name)
    assert.equal(info.path, `/home/user/names/${name}`)
    assert.equal(await box.files.read(`names/${name}`), name)
    assert.equal((await box.files.getInfo(`names/${name}`)).name, name.split('/').at(-1))
  }
  const several = await box.files.write(names.slice(0, 4).map((name) => ({
    path: `names/again/${name}`, data: name,
  })))
  assert.deepEqual(several.map((info) => info.path),
    names.slice(0, 4).map((name) => `/home/user/names/again/${name}`))
  await box.files.write('names/"quoted".txt', 'q')
  assert.equal(await box.files.exists('names/"quoted".txt'), true)
})

test('lists, as deep as asked for', async () => {
  await box.files.write([
    { path: 'tree/b.txt', data: 'bb' }, { path: 'tree/a/c.txt', data: 'c' },
    { path: 'tree/a/d/e.txt', data: 'e' },
  ])
  await box.commands.run('ln -s ../b.txt tree/a/link && ln -s nowhere tree/dangling')
  const flat = await box.files.list('tree')
  assert.deepEqual(flat.map((entry) => [entry.name, entry.type, entry.path]), [
    ['a', FileType.DIR, '/home/user/tree/a'],
    ['b.txt', FileType.FILE, '/home/user/tree/b.txt'],
  ])
  assert.equal(flat[1].size, 2)
  const two = await box.files.list('/home/user/tree', { depth: 2 })
  assert.deepEqual(two.map((entry) => entry.path.slice('/home/user/tree/'.length)),
    ['a', 'a/c.txt', 'a/d', 'a/link', 'b.txt'])
  const link = two.find((entry) => entry.name === 'link')
  assert.equal(link.type, FileType.FILE)
  assert.equal(link.symlinkTarget, '/home/user/tree/b.txt')
  assert.equal((await box.files.list('tree', { depth: 3 })).length, 6)
  await assert.rejects(box.files.list('tree', { depth: 0 }), InvalidArgumentError)
  await assert.rejects(box.files.list('tree/none'), NotFoundError)
  await assert.rejects(box.files.list('tree/b.txt'), InvalidArgumentError)
})

test('what is known about a file', async () => {
  const began = Date.now()
  await box.files.write('info.sh', '#!/bin/sh\n')
  await box.commands.run('chmod 750 info.sh')
  const info = await box.files.getInfo('info.sh')
  assert.equal(info.path, '/home/user/info.sh')
  assert.equal(info.size, 10)
  assert.equal(info.mode, 0o750)
  assert.equal(info.permissions, '-rwxr-x---')
  assert.equal(info.owner, 'user')
  assert.equal(info.group, 'user')
  assert.equal(info.symlinkTarget, undefined)
  assert.ok(Math.abs(info.modifiedTime - began) < 60_000)
  const folder = await box.files.getInfo('/tmp')
  assert.equal(folder.type, FileType.DIR)
  assert.equal(folder.owner, 'root')
  await assert.rejects(box.files.getInfo('none'), NotFoundError)
})

test('metadata stays with a file', async () => {
  const written = await box.files.write('tagged', 'x', {
    metadata: { Author: 'ada', 'a-b': 'c d' },
  })
  assert.deepEqual(written.metadata, { author: 'ada', 'a-b': 'c d' })
  assert.deepEqual((await box.files.getInfo('tagged')).metadata, { author: 'ada', 'a-b': 'c d' })
  const moved = await box.files.rename('tagged', 'tagged2')
  assert.deepEqual(moved.metadata, { author: 'ada', 'a-b': 'c d' })
  const listed = (await box.files.list('.')).find((entry) => entry.name === 'tagged2')
  assert.deepEqual(listed.metadata, { author: 'ada', 'a-b': 'c d' })
  await box.files.write('tagged2', 'y', { useOctetStream: true, metadata: { only: 'this' } })
  assert.deepEqual((await box.files.getInfo('tagged2')).metadata, { only: 'this' })
  await box.files.write('tagged2', 'z')
  assert.equal((await box.files.getInfo('tagged2')).metadata, undefined)
})

test('exists, makeDir, rename, remove', async () => {
  assert.equal(await box.files.exists('work'), false)
  assert.equal(await box.files.makeDir('work/a/b'), true)
  assert.equal(await box.files.makeDir('work/a/b'), false)
  assert.equal(await box.files.exists('work/a'), true)
  await box.files.write('work/a/b/f', 'f')
  await assert.rejects(box.files.makeDir('work/a/b/f'), InvalidArgumentError)
  const moved = await box.files.rename('work/a', 'work/new/c')
  assert.equal(moved.path, '/home/user/work/new/c')
  assert.equal(moved.type, FileType.DIR)
  assert.equal(await box.files.exists('work/a'), false)
  assert.equal(await box.files.read('work/new/c/b/f'), 'f')
  await box.files.remove('work')
  assert.equal(await box.files.exists('work'), false)
  await box.files.remove('work')
  await assert.rejects(box.files.rename('work', 'other'), NotFoundError)
})

test('paths and ownership follow the user', async () => {
  await box.files.write('mine', 'root', { user: 'root' })
  assert.equal(await box.files.read('/root/mine', { user: 'root' }), 'root')
  assert.equal((await box.files.getInfo('mine', { user: 'root' })).owner, 'root')
  await box.files.write('~/tilde', 't')
  assert.equal(await box.files.read('/home/user/tilde'), 't')
  assert.equal(await box.files.exists('~/mine', { user: 'root' }), true)
  assert.equal(await box.files.exists('~/mine'), false)
  await box.files.makeDir('/tmp/of-root', { user: 'root' })
  assert.equal((await box.files.getInfo('/tmp/of-root')).owner, 'root')
})

test('what cannot be read or written has its own error', async () => {
  await assert.rejects(box.files.read('missing.txt'), FileNotFoundError)
  await assert.rejects(box.files.read('missing.txt'), NotFoundError)
  await assert.rejects(box.files.read('/tmp'), InvalidArgumentError)
  await assert.rejects(box.files.write('/tmp', 'x'), InvalidArgumentError)
})

test('no space is said as that, and the box lives on', async () => {
  await box.commands.run('sudo mkdir -p /mnt/small && ' +
    'sudo mount -t tmpfs -o size=1m,mode=777 small /mnt/small')
  for (const options of [{}, { useOctetStream: true }]) {
    await assert.rejects(
      box.files.write('/mnt/small/big', numberedBytes(3_000_000, 3).buffer, options),
      NotEnoughSpaceError)
  }
  await box.files.write('/mnt/small/fits', 'x')
  assert.equal(await box.files.read('/mnt/small/fits'), 'x')
})
