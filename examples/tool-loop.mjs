// An agent whose reasoning stays outside and whose actions run in a box.
//
// The model here is a script, so that the example needs no key. A real one is called at the same
// place, with the same tools; its key never enters the box.

import { Sandbox } from 'e2b'

/** What the model may do. Each tool takes its arguments and gives text back. */
const tools = (box) => ({
  async run({ command }) {
    const done = await box.commands.run(command, { timeoutMs: 60_000 }).catch((error) => {
      if (error.exitCode === undefined) throw error
      return error // a failing command is something the model should see
    })
    return `exit ${done.exitCode}\n${done.stdout}${done.stderr}`
  },
  async write_file({ path, text }) {
    await box.files.write(path, text)
    return `wrote ${path}`
  },
  async read_file({ path }) {
    return box.files.read(path)
  },
})

/** Yields tool calls and is sent what came of them; returns the final words. */
function* scriptedModel() {
  const text = 'def add(a, b):\n    return a - b\n'
  yield { tool: 'write_file', input: { path: 'add.py', text } }
  // Without -B, what Python compiled within the same second would hide the repair of one letter.
  const check = "import add; assert add.add(2, 3) == 5, add.add(2, 3); print('right')"
  const result = yield { tool: 'run', input: { command: `python3 -B -c "${check}"` } }
  if (!result.startsWith('exit 0')) {
    yield { tool: 'run', input: { command: 'sed -i "s/a - b/a + b/" add.py' } }
    yield { tool: 'run', input: { command: `python3 -B -c "${check}"` } }
  }
  const file = yield { tool: 'read_file', input: { path: 'add.py' } }
  return `Done. The file is now:\n${file}`
}

const box = await Sandbox.create({ timeoutMs: 300_000, allowInternetAccess: false })
try {
  const available = tools(box)
  const model = scriptedModel()
  let turn = model.next()
  while (!turn.done) {
    const { tool, input } = turn.value
    console.log(`> ${tool} ${JSON.stringify(input)}`)
    const result = await available[tool](input)
    console.log(result.trimEnd())
    turn = model.next(result)
  }
  console.log(turn.value)
} finally {
  await box.kill()
}
