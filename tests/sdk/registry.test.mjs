// Templates on an image from a registry, $HAKO_IMAGE, which wants the login $HAKO_LOGIN.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Sandbox, Template } from './sdk.mjs'

const image = process.env.HAKO_IMAGE
const [username, password] = JSON.parse(process.env.HAKO_LOGIN)
const limit = { timeout: 240_000 }

test('an image is pulled with a login, and built on', limit, async () => {
  const logs = []
  const template = Template()
    .fromImage(image, { username, password })
    .runCmd('cat /text > /tmp/made; echo "$FROM_IMAGE" >> /tmp/made')
  await Template.build(template, 'on-pulled', {
    onBuildLogs: (entry) => logs.push(entry.message),
  })
  assert.match(logs.join('\n'), /\[pull\]: Copying blob sha256:/)
  assert.doesNotMatch(logs.join('\n'), new RegExp(password))
  const box = await Sandbox.create('on-pulled')
  try {
    assert.equal(await box.files.read('/tmp/made'), 'by the clientyes\n')
  } finally {
    await box.kill()
  }
})

test('what may not be had is said so', limit, async () => {
  const build = (template) => Template.build(template, 'on-none')
  await assert.rejects(build(Template().fromImage(image, { username, password: 'wrong' })),
    /unauthorized|authentication required|invalid username/i)
  await assert.rejects(build(Template().fromImage('python:3.12')),
    /docker\.io.*\[template\] registries/)
  await assert.rejects(build(Template().fromAWSRegistry(image, {
    accessKeyId: 'a', secretAccessKey: 'b', region: 'c',
  })), /aws/)
})
