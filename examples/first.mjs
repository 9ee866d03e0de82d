// A box: a command in it, a file in and out, a program that talks while it runs.

import { Sandbox } from 'e2b'

const box = await Sandbox.create({ timeoutMs: 120_000, metadata: { purpose: 'example' } })
try {
  const kernel = await box.commands.run('uname -sr')
  console.log('kernel:', kernel.stdout.trim())

  await box.files.write('numbers.txt', [3, 1, 2].join('\n') + '\n')
  await box.commands.run('sort -n numbers.txt > sorted.txt')
  console.log('sorted:', (await box.files.read('sorted.txt')).trim().split('\n').join(' '))

  const talk = await box.commands.run('while read -r name; do echo "hello $name"; done', {
    background: true, stdin: true, onStdout: (text) => process.stdout.write(text),
  })
  await talk.sendStdin('Ada\n')
  await talk.sendStdin('Grace\n')
  await talk.closeStdin()
  await talk.wait()

  // A command that fails is an exception with everything in it.
  await box.commands.run('ls /no/such/folder').catch((error) => {
    console.log('failed with', error.exitCode)
  })
} finally {
  await box.kill()
}
