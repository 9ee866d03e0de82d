// Terminals in a box.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CommandExitError, NotFoundError } from './sdk.mjs'
import { sharedBox, until } from './support.mjs'

const box = sharedBox()
const encoder = new TextEncoder()

/** A terminal whose screen can be asked for a text. */
async function terminal(options = {}) {
  let screen = ''
  const decoder = new TextDecoder()
  const add = (data) => { screen += decoder.decode(data, { stream: true }) }
  const handle = await box.pty.create({ cols: 80, rows: 24, timeoutMs: 0, ...options, onData: add })
  return {
    handle, add,
    type: (text) => box.pty.sendInput(handle.pid, encoder.encode(text)),
    shows: (pattern) => until(`${pattern} on ${JSON.stringify(screen)}`, () =>
      screen.match(pattern), 15_000),
  }
}

test('a terminal is an interactive shell of the user', async () => {
  const { handle, type, shows } = await terminal({ envs: { EXTRA: 'given' }, cwd: '/tmp' })
  await type('echo "[$(id -un)|$PWD|$TERM|$LANG|$EXTRA|$(tty)|$-]"\n')
  const [, user, folder, term, lang, extra, tty, flags] =
    await shows(/\[(\w+)\|([^|$]*)\|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|(\w+)\]/)
  assert.deepEqual([user, folder, term, lang, extra],
    ['user', '/tmp', 'xterm-256color', 'C.UTF-8', 'given'])
  assert.match(tty, /^\/dev\/pts\/\d+$/)
  assert.match(flags, /i/)
  await type('exit\n')
  assert.equal((await handle.wait()).exitCode, 0)
})

test('its size is the given one and follows', async () => {
  const { handle, type, shows } = await terminal({ cols: 101, rows: 31 })
  await type('echo "<$(stty size)>"\n')
  await shows(/<31 101>/)
  await type("trap 'echo resized' WINCH\n")
  await box.pty.resize(handle.pid, { cols: 133, rows: 44 })
  await type('echo "<$(stty size)>"\n')
  await shows(/<44 133>/)
  await type('exit 3\n')
  await assert.rejects(handle.wait(), (error) =>
    error instanceof CommandExitError && error.exitCode === 3)
})

test('keys reach the program in front', async () => {
  const { handle, type, shows } = await terminal()
  await type('cat; echo "after: $?"\n')
  await type('žluť 箱\n')
  await shows(/žluť 箱\r?\n.*žluť 箱/s)
  await type('\x03')
  await shows(/after: 130|\^C/)
  await type('stty -echo; printf "%s\\n" done-$((20+22))\n')
  await shows(/done-42/)
  assert.equal(await box.pty.kill(handle.pid), true)
  await assert.rejects(handle.wait(), CommandExitError)
  await until('it is no longer listed', async () =>
    !(await box.commands.list()).some((entry) => entry.pid === handle.pid))
  assert.equal(await box.pty.kill(handle.pid), false)
})

test('one can hang up and come back', async () => {
  const first = await terminal()
  await first.type('stty -echo; echo begin\n')
  await first.shows(/begin/)
  await first.handle.disconnect()
  let seen = ''
  const decoder = new TextDecoder()
  const back = await box.pty.connect(first.handle.pid, {
    onData: (data) => { seen += decoder.decode(data, { stream: true }) },
  })
  assert.equal(back.pid, first.handle.pid)
  await box.pty.sendInput(back.pid, encoder.encode('echo again-$((1+1))\n'))
  await until('what is typed after coming back', () => seen.includes('again-2'))
  assert.equal(await back.kill(), true)
})

test('what is not there cannot be typed at', async () => {
  await assert.rejects(box.pty.sendInput(4_000_000, encoder.encode('x')), NotFoundError)
  await assert.rejects(box.pty.resize(4_000_000, { cols: 1, rows: 1 }), NotFoundError)
  assert.equal(await box.pty.kill(4_000_000), false)
})
