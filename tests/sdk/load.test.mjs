// Much at once: nothing may be lost or end up with somebody else.
//
// HAKO_SDK_FULL=1 runs the full sizes; without, they are what a test run has time for.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { numberedBytes, throughHeaders } from './support.mjs'

// The client opens at most 200 connections by itself, and one that is full of streams has none left
// for their input. It reads this when it is loaded.
process.env.E2B_ENVD_RPC_CONNECTIONS = '500'
const { Sandbox } = await import('./sdk.mjs')

const full = Boolean(process.env.HAKO_SDK_FULL)
const streams = full ? 200 : 48
const uploads = full ? 100 : 32
const many = full ? 20 : 4
const megabyte = 1 << 20
const limit = { timeout: 600_000 }
const boxes = []

before(async () => {
  boxes.push(...await Promise.all(Array.from({ length: many }, () =>
    Sandbox.create({ timeoutMs: 900_000, requestTimeoutMs: 300_000 }))))
})
after(() => Promise.all(boxes.map((box) => box.kill())))

for (const count of [1, many]) {
  const boxOf = (index) => boxes[index % count]

  test(`${streams} open commands in ${count} boxes`, limit, async () => {
    const open = await Promise.all(Array.from({ length: streams }, async (_, index) => {
      const lines = []
      const handle = await boxOf(index).commands.run(
        `while read -r line; do echo "${index} of $E2B_SANDBOX_ID: $line"; done; ` +
        `exit ${index % 7}`, {
          background: true, stdin: true, timeoutMs: 0, requestTimeoutMs: 300_000,
          onStdout: (text) => { lines.push(text) },
        })
      return { handle, lines, index }
    }))
    assert.equal(new Set(open.map(({ handle, index }) =>
      `${boxOf(index).sandboxId} ${handle.pid}`)).size, streams)
    for (const round of [1, 2, 3]) {
      await Promise.all(open.map(({ handle, index }) =>
        handle.sendStdin(`round ${round} for ${index}\n`, { requestTimeoutMs: 300_000 })))
    }
    await Promise.all(open.map(async ({ handle, lines, index }) => {
      await handle.closeStdin({ requestTimeoutMs: 300_000 })
      const code = await handle.wait().then((result) => result.exitCode, (error) => error.exitCode)
      assert.equal(code, index % 7)
      const who = `${index} of ${boxOf(index).sandboxId}`
      assert.equal(lines.join(''), [1, 2, 3].map((round) =>
        `${who}: round ${round} for ${index}\n`).join(''))
    }))
  })

  test(`${uploads} files of a megabyte at once into ${count} boxes`, limit, async () => {
    // The client sends ten at a time; this sends all of them.
    const send = async (index) => {
      const box = boxOf(index)
      const response = await throughHeaders(box, 49983, `/files?path=load-${count}/${index}`, {
        method: 'POST', body: numberedBytes(megabyte, index),
        headers: {
          'Content-Type': 'application/octet-stream', 'X-Access-Token': box.envdAccessToken,
        },
      })
      assert.equal(response.status, 200, await response.text())
    }
    await Promise.all(Array.from({ length: uploads }, (_, index) => send(index)))
    for (let index = 0; index < uploads; index++) {
      const data = await boxOf(index).files.read(`load-${count}/${index}`, { format: 'bytes' })
      assert.ok(Buffer.compare(data, numberedBytes(megabyte, index)) === 0, `file ${index} differs`)
    }
    await Promise.all(boxes.slice(0, count).map((box) => box.files.remove(`load-${count}`)))
  })
}
