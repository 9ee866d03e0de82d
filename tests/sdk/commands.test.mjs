// Commands in a box: what goes in, what comes out, and how they end.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  AuthenticationError, CommandExitError, InvalidArgumentError, NotFoundError, Sandbox,
  TimeoutError,
} from './sdk.mjs'
import { deferred, sharedBox, until } from './support.mjs'

const box = sharedBox({ envs: { FROM_BOX: 'box', BOTH: 'box' } })

/** Collects a stream and tells when a text has come. */
function collector() {
  const state = { text: '', waiting: [] }
  return {
    add: (piece) => {
      state.text += piece
      for (const { text, done } of state.waiting) if (state.text.includes(text)) done.resolve()
    },
    has: (text) => {
      const done = deferred()
      if (state.text.includes(text)) done.resolve()
      state.waiting.push({ text, done })
      return done.promise
    },
    get text() { return state.text },
  }
}

test('a command is a shell line whose outputs stay apart', async () => {
  const result = await box.commands.run('echo "out 箱"; echo err >&2; echo more')
  assert.equal(result.exitCode, 0)
  assert.equal(result.stdout, 'out 箱\nmore\n')
  assert.equal(result.stderr, 'err\n')
})

test('it runs as user, in the home directory, in a login shell', async () => {
  const { stdout } = await box.commands.run(
    'id -un; pwd; echo "$HOME $USER $LOGNAME"; shopt login_shell')
  assert.deepEqual(stdout.split(/\s+/).filter(Boolean),
    ['user', '/home/user', '/home/user', 'user', 'user', 'login_shell', 'on'])
})

test('variables come from the box and then from the command', async () => {
  const { stdout } = await box.commands.run('echo "$FROM_BOX $BOTH $FROM_COMMAND"', {
    envs: { BOTH: 'command', FROM_COMMAND: 'a "b" $c' },
  })
  assert.equal(stdout, 'box command a "b" $c\n')
  const ids = await box.commands.run('echo $E2B_SANDBOX $E2B_SANDBOX_ID')
  assert.equal(ids.stdout, `true ${box.sandboxId}\n`)
})

test('the folder can be chosen; one that is not there is said so', async () => {
  assert.equal((await box.commands.run('pwd', { cwd: '/var/tmp' })).stdout, '/var/tmp\n')
  await assert.rejects(box.commands.run('pwd', { cwd: '/no/such/folder' }), (error) =>
    error instanceof InvalidArgumentError &&
    /cwd '\/no\/such\/folder' does not exist/.test(error.message))
})

test('the user can be chosen; one that is not there is refused', async () => {
  const { stdout } = await box.commands.run('id -un; echo $HOME', { user: 'root' })
  assert.equal(stdout, 'root\n/root\n')
  assert.equal((await box.commands.run('sudo -n id -u')).stdout, '0\n')
  await assert.rejects(box.commands.run('true', { user: 'nobody-here' }), AuthenticationError)
})

test('a failure has the code, both outputs and a reason', async () => {
  await assert.rejects(box.commands.run('echo out; echo err >&2; exit 7'), (error) => {
    assert.ok(error instanceof CommandExitError)
    assert.equal(error.exitCode, 7)
    assert.equal(error.stdout, 'out\n')
    assert.equal(error.stderr, 'err\n')
    assert.equal(error.error, 'exit status 7')
    return true
  })
  await assert.rejects(box.commands.run('kill -SEGV $$'), (error) =>
    error instanceof CommandExitError && error.exitCode !== 0 && /^signal: /.test(error.error))
  await assert.rejects(box.commands.run('no-such-program'), (error) =>
    error.exitCode === 127 && /not found/.test(error.stderr))
})

test('output arrives while the command runs', async () => {
  const out = collector()
  const err = collector()
  const command = await box.commands.run('echo one; read line; echo "two $line"; echo three >&2', {
    background: true, stdin: true, onStdout: out.add, onStderr: err.add,
  })
  await out.has('one\n')
  assert.equal(command.exitCode, undefined)
  await box.commands.sendStdin(command.pid, 'and a half\n')
  const result = await command.wait()
  assert.equal(out.text, 'one\ntwo and a half\n')
  assert.equal(err.text, 'three\n')
  assert.equal(result.stdout, out.text)
  assert.equal(command.exitCode, 0)
})

test('closing stdin is its end', async () => {
  const command = await box.commands.run('sha256sum', { background: true, stdin: true })
  for (const piece of ['a', 'b', 'ž箱']) await command.sendStdin(piece)
  await box.commands.closeStdin(command.pid)
  const { stdout } = await command.wait()
  const bytes = await crypto.subtle.digest('SHA-256', new TextEncoder().encode('abž箱'))
  assert.equal(stdout.split(' ')[0], Buffer.from(bytes).toString('hex'))
})

test('without stdin a command reads nothing', async () => {
  assert.equal((await box.commands.run('cat; echo done')).stdout, 'done\n')
  const command = await box.commands.run('sleep 60', { background: true })
  await assert.rejects(command.sendStdin('x'))
  await command.kill()
})

test('megabytes of output arrive whole, text of many bytes unbroken', async () => {
  const { stdout } = await box.commands.run(
    'seq 1 300000; for i in $(seq 2000); do printf 箱ž; done')
  const lines = stdout.split('\n')
  assert.equal(lines.length, 300_001)
  assert.ok(lines.slice(0, 300_000).every((line, index) => line === `${index + 1}`))
  assert.equal(lines.at(-1), '箱ž'.repeat(2000))
})

test('background commands are listed, with what they were started as', async () => {
  const command = await box.commands.run('exec sleep 61', {
    background: true, cwd: '/tmp', envs: { LISTED: 'yes' },
  })
  const listed = (await box.commands.list()).find((entry) => entry.pid === command.pid)
  assert.equal(listed.cmd, '/bin/bash')
  assert.deepEqual(listed.args, ['-l', '-c', 'exec sleep 61'])
  assert.equal(listed.envs.LISTED, 'yes')
  assert.equal(listed.cwd, '/tmp')
  assert.equal(await command.kill(), true)
  await assert.rejects(command.wait(), CommandExitError)
  await until('it is no longer listed', async () =>
    !(await box.commands.list()).some((entry) => entry.pid === command.pid))
  assert.equal(await command.kill(), false)
  assert.equal(await box.commands.kill(4_000_000), false)
})

test('a killed command ends at once, whatever it left running', async () => {
  const command = await box.commands.run('sleep 62 & sleep 62', { background: true })
  const began = Date.now()
  assert.equal(await box.commands.kill(command.pid), true)
  await assert.rejects(command.wait(), (error) =>
    error instanceof CommandExitError && error.exitCode === -1 && error.error === 'signal: killed')
  assert.ok(Date.now() - began < 20_000)
})

test('who hangs up leaves the command running, and can come back', async () => {
  const first = collector()
  const command = await box.commands.run(
    'echo begin; read a; echo "got $a"; read b; echo "and $b"; exit 3',
    { background: true, stdin: true, onStdout: first.add })
  await first.has('begin\n')
  await command.disconnect()

  const second = collector()
  const third = collector()
  const back = await box.commands.connect(command.pid, { onStdout: second.add })
  const also = await box.commands.connect(command.pid, { onStdout: third.add })
  assert.equal(back.pid, command.pid)
  await back.sendStdin('a\n')
  await Promise.all([second.has('got a\n'), third.has('got a\n')])
  await also.sendStdin('b\n')
  for (const handle of [back, also]) {
    await assert.rejects(handle.wait(), (error) =>
      error instanceof CommandExitError && error.exitCode === 3)
  }
  assert.equal(second.text, 'got a\nand b\n')
  assert.equal(third.text, 'got a\nand b\n')
  assert.equal(first.text, 'begin\n')
})

test('who is not there cannot be reached', async () => {
  await assert.rejects(box.commands.connect(4_000_000), NotFoundError)
  await assert.rejects(box.commands.sendStdin(4_000_000, 'x'), NotFoundError)
})

test('a deadline ends the command itself', async () => {
  const command = await box.commands.run('echo $$; exec sleep 6300', {
    background: true, timeoutMs: 1500,
  })
  await assert.rejects(command.wait(), TimeoutError)
  await until('the process is gone', async () => {
    const { stdout } = await box.commands.run("pgrep -f '^sleep 6300$' | wc -l")
    return stdout.trim() === '0'
  })
  assert.ok(!(await box.commands.list()).some((entry) => entry.pid === command.pid))
})

test('no deadline, and one that is not reached', async () => {
  assert.equal((await box.commands.run('sleep 1; echo a', { timeoutMs: 0 })).stdout, 'a\n')
  assert.equal((await box.commands.run('echo b', { timeoutMs: 30_000 })).stdout, 'b\n')
})

test('a request that its caller gives up stops waiting', async () => {
  const controller = new AbortController()
  const run = box.commands.run('echo never', { signal: controller.signal, cwd: '/tmp' })
  controller.abort()
  await assert.rejects(run)
  assert.equal((await box.commands.run('echo still here')).stdout, 'still here\n')
})

test('killing the box under a command is a timeout that says so', async () => {
  const other = await Sandbox.create()
  const out = collector()
  const command = await other.commands.run('echo ready; sleep 63', {
    background: true, onStdout: out.add,
  })
  const ended = assert.rejects(command.wait(), (error) =>
    error instanceof TimeoutError && /killed/.test(error.message))
  await out.has('ready\n')
  await other.kill()
  await ended
})
