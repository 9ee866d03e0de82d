// Code in a box, cell by cell. Needs the template that code-interpreter/build.mjs builds.

import { Sandbox } from '@e2b/code-interpreter'

const box = await Sandbox.create()
try {
  await box.runCode('import statistics; numbers = [2, 4, 4, 4, 5, 5, 7, 9]')
  const mean = await box.runCode('print("thinking"); statistics.mean(numbers)', {
    onStdout: (message) => process.stdout.write(`box: ${message.line}`),
  })
  console.log('mean:', mean.text)
  const wrong = await box.runCode('numbers[100]')
  console.log(`${wrong.error.name}: ${wrong.error.value}`)
} finally {
  await box.kill()
}
