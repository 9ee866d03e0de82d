// A terminal in a box. With a terminal in front of you it is yours; without, it gets a few keys.

import { Sandbox } from 'e2b'

const box = await Sandbox.create({ timeoutMs: 600_000 })
const encoder = new TextEncoder()
const terminal = await box.pty.create({
  cols: process.stdout.columns ?? 80,
  rows: process.stdout.rows ?? 24,
  timeoutMs: 0,
  onData: (data) => process.stdout.write(data),
})
const type = (keys) => box.pty.sendInput(terminal.pid, keys)

if (process.stdin.isTTY) {
  process.stdin.setRawMode(true)
  process.stdin.on('data', type)
  process.stdout.on('resize', () =>
    box.pty.resize(terminal.pid, { cols: process.stdout.columns, rows: process.stdout.rows }))
} else {
  await type(encoder.encode('stty size; echo "six times seven is $((6 * 7))"; exit\n'))
}
await terminal.wait().catch((error) => { process.exitCode = error.exitCode })
await box.kill()
process.exit()
