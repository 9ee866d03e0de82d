// @e2b/code-interpreter against the service of examples/code-interpreter.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import { TimeoutError, SandboxError, codeInterpreter } from './sdk.mjs'
import { throughHeaders, until } from './support.mjs'

const { Sandbox } = codeInterpreter()
const folder = new URL('../../examples/code-interpreter/', import.meta.url)
let box

before(async () => {
  box = await Sandbox.create('base', { envs: { FROM_BOX: 'given' } })
  await box.files.write(await Promise.all(['server.py', 'kernel.py'].map(async (name) => ({
    path: `/home/user/interpreter/${name}`, data: await readFile(new URL(name, folder), 'utf8'),
  }))))
  await box.commands.run('exec python3 interpreter/server.py', { background: true, timeoutMs: 0 })
  await until('the service answers', async () =>
    (await throughHeaders(box, 49999, '/health')).status === 200)
})
after(() => box?.kill())

test('names live from cell to cell, the last expression is the result', async () => {
  const first = await box.runCode('x = 1')
  assert.equal(first.text, undefined)
  assert.deepEqual(first.results, [])
  const second = await box.runCode('x + 1')
  assert.equal(second.text, '2')
  assert.equal(second.results[0].isMainResult, true)
  assert.equal(second.executionCount, first.executionCount + 1)
  assert.equal((await box.runCode('import asyncio\nawait asyncio.sleep(0)\n"箱"')).text, "'箱'")
})

test('output is told as it comes', async () => {
  const out = []
  const err = []
  const results = []
  const execution = await box.runCode(
    'import os, sys\nprint("one")\nos.system("echo from a program")\n' +
    'print("bad", file=sys.stderr)\ndisplay([1, 2])\n{"a": 1}', {
      onStdout: (message) => { out.push(message.line) },
      onStderr: (message) => { err.push(message.line) },
      onResult: (result) => { results.push(result.text) },
    })
  assert.equal(out.join(''), 'one\nfrom a program\n')
  assert.equal(err.join(''), 'bad\n')
  assert.deepEqual(results, ['[1, 2]', "{'a': 1}"])
  assert.equal(execution.logs.stdout.join(''), out.join(''))
  assert.equal(execution.text, "{'a': 1}")
})

test('results have all their forms', async () => {
  const execution = await box.runCode(
    'class Both:\n  def _repr_html_(self): return "<b>x</b>"\n' +
    '  def _repr_png_(self): return b"png"\n  def __repr__(self): return "plain"\nBoth()')
  const [result] = execution.results
  assert.deepEqual([result.text, result.html, result.png], ['plain', '<b>x</b>', 'cG5n'])
})

test('an error has its name, value and traceback, and the context goes on', async () => {
  await box.runCode('kept = 5')
  let told
  const execution = await box.runCode('def f():\n  return 1 / 0\nf()', {
    onError: (error) => { told = error },
  })
  assert.equal(execution.error.name, 'ZeroDivisionError')
  assert.equal(execution.error.value, 'division by zero')
  assert.match(execution.error.traceback, /in f\n.*return 1 \/ 0/s)
  assert.doesNotMatch(execution.error.traceback, /kernel\.py/)
  assert.equal(told.name, 'ZeroDivisionError')
  assert.equal((await box.runCode('def f(:')).error.name, 'SyntaxError')
  assert.equal((await box.runCode('exit()')).error.name, 'SystemExit')
  assert.equal((await box.runCode('kept')).text, '5')
})

test('contexts do not see each other', async () => {
  await box.runCode('where = "default"')
  const context = await box.createCodeContext({ cwd: '/tmp' })
  assert.equal(context.language, 'python')
  assert.equal(context.cwd, '/tmp')
  assert.equal((await box.runCode('import os; os.getcwd()', { context })).text, "'/tmp'")
  assert.equal((await box.runCode('where', { context })).error.name, 'NameError')
  await box.runCode('where = "second"', { context })
  assert.equal((await box.runCode('where')).text, "'default'")
  assert.ok((await box.listCodeContexts()).some((entry) => entry.id === context.id))

  await box.restartCodeContext(context)
  assert.equal((await box.runCode('where', { context })).error.name, 'NameError')
  await box.removeCodeContext(context.id)
  assert.ok(!(await box.listCodeContexts()).some((entry) => entry.id === context.id))
  await assert.rejects(box.runCode('1', { context }), SandboxError)
})

test('variables are those of the box and then those of the call', async () => {
  const code = 'import os; os.environ.get("FROM_BOX"), os.environ.get("FROM_CALL")'
  assert.equal((await box.runCode(code, { envs: { FROM_CALL: 'now' } })).text, "('given', 'now')")
  assert.equal((await box.runCode(code)).text, "('given', None)")
})

test('what takes too long is interrupted, and the next cell has its turn', async () => {
  await box.runCode('before = 1')
  await assert.rejects(
    box.runCode('import time; time.sleep(600)', { timeoutMs: 1000 }), TimeoutError)
  assert.equal((await box.runCode('before')).text, '1')
})

test('a process that dies is a result, too', async () => {
  const context = await box.createCodeContext()
  const died = await box.runCode('import os; os._exit(3)', { context })
  assert.equal(died.error.name, 'KernelDied')
  assert.equal((await box.runCode('6 * 7', { context })).text, '42')
})

test('other languages are refused', async () => {
  await assert.rejects(box.runCode('1', { language: 'r' }), SandboxError)
})
