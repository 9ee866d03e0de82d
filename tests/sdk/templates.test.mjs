// Templates, built from the base by the client.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile, mkdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import {
  BuildError, Sandbox, SandboxError, Template, version, waitForFile, waitForPort,
} from './sdk.mjs'
import { throughHeaders } from './support.mjs'

// Each run and each client has names of its own.
const name = `sdk-${version.replaceAll('.', '-')}-${process.pid}`
const limit = { timeout: 240_000 }
let context

before(async () => {
  context = await mkdtemp(join(tmpdir(), 'hako-sdk-'))
  await mkdir(join(context, 'site/deep'), { recursive: true })
  await writeFile(join(context, 'site/index.html'), 'from the template')
  await writeFile(join(context, 'site/deep/žluť.txt'), 'deep')
  await writeFile(join(context, 'one file.txt'), 'one')
})
after(() => rm(context, { recursive: true }))

test('a template holds what its steps made, and its service runs', limit, async () => {
  assert.equal(await Template.exists(name), false)
  const template = Template({ fileContextPath: context })
    .fromTemplate('base')
    .runCmd('echo "$(id -un) $PWD" > /tmp/first')
    .copy('site', '/opt/site', { user: 'root' })
    .copy('one file.txt', '/home/user/one.txt', { mode: 0o640 })
    .setEnvs({ FROM_TEMPLATE: 'a "b" c', PORT: '8123' })
    .setWorkdir('/home/user/work')
    .runCmd(['echo "$FROM_TEMPLATE" > envs', 'pwd > where'])
    .runCmd('id -un > /root/who', { user: 'root' })
    .makeDir('/home/user/made', { mode: 0o700 })
    .setStartCmd('cd /opt/site && exec python3 -m http.server $PORT', waitForPort(8123))
  const logs = []
  const built = await Template.build(template, name, {
    cpuCount: 1, memoryMB: 320, tags: ['default', 'v1'],
    onBuildLogs: (entry) => logs.push(entry.message),
  })
  assert.equal(built.name ?? built.alias, name)
  assert.ok(built.templateId && built.buildId)
  assert.ok(logs.length > 0)
  assert.equal(await Template.exists(name), true)

  const box = await Sandbox.create(name)
  try {
    const info = await box.getInfo()
    assert.equal(info.templateId, built.templateId)
    assert.equal(info.cpuCount, 1)
    assert.equal(info.memoryMB, 320)
    assert.equal(await box.files.read('/tmp/first'), 'user /home/user\n')
    assert.equal(await box.files.read('/opt/site/deep/žluť.txt'), 'deep')
    assert.equal((await box.files.getInfo('/opt/site/index.html')).owner, 'root')
    const one = await box.files.getInfo('/home/user/one.txt')
    assert.deepEqual([one.size, one.mode, one.owner], [3, 0o640, 'user'])
    assert.equal(await box.files.read('/home/user/work/envs'), 'a "b" c\n')
    assert.equal(await box.files.read('/home/user/work/where'), '/home/user/work\n')
    assert.equal(await box.files.read('/root/who', { user: 'root' }), 'root\n')
    const { stdout } = await box.commands.run('echo "$FROM_TEMPLATE|$PWD"')
    assert.equal(stdout, 'a "b" c|/home/user/work\n')
    // The start command was running when the box was captured: it answers at once.
    const page = await throughHeaders(box, 8123)
    assert.equal(await page.text(), 'from the template')
  } finally {
    await box.kill()
  }

  await checkTags(built)
  const above = await Template.build(
    Template().fromTemplate(name).setUser('root').runCmd('id -un > /opt/above'), `${name}-above`)
  const second = await Sandbox.create(`${name}-above`)
  try {
    assert.equal((await second.getInfo()).templateId, above.templateId)
    assert.equal(await second.files.read('/opt/above'), 'root\n')
    assert.equal(await second.files.read('/opt/site/index.html'), 'from the template')
    assert.equal((await second.commands.run('id -un')).stdout, 'root\n')
  } finally {
    await second.kill()
  }
})

/** Tags of a build: given, listed, used and taken away. */
async function checkTags(built) {
  const assigned = await Template.assignTags(`${name}:v1`, ['stable', 'newest'])
  assert.equal(assigned.buildId, built.buildId)
  const tags = await Template.getTags(built.templateId)
  const names = tags.filter((tag) => tag.buildId === built.buildId).map((tag) => tag.tag)
  for (const tag of ['v1', 'stable', 'newest']) assert.ok(names.includes(tag), names.join())
  const box = await Sandbox.create(`${name}:stable`)
  assert.equal((await box.getInfo()).templateId, built.templateId)
  await box.kill()
  await Template.removeTags(name, ['stable'])
  assert.ok(!(await Template.getTags(name)).some((tag) => tag.tag === 'stable'))
  await assert.rejects(Sandbox.create(`${name}:stable`), SandboxError)
}

test('a step that fails ends the build, with its output', limit, async () => {
  const template = Template().fromTemplate('base').runCmd('echo what went wrong >&2; exit 3')
  const logs = []
  await assert.rejects(Template.build(template, `${name}-bad`, {
    onBuildLogs: (entry) => logs.push(entry.message),
  }), BuildError)
  assert.match(logs.join('\n'), /what went wrong/)
  await assert.rejects(Sandbox.create(`${name}-bad`), SandboxError)
})

test('a build goes on behind one, and says how far it is', limit, async () => {
  const template = Template().fromTemplate('base')
    .runCmd('echo a mark; sleep 1; echo yes > /tmp/made')
    .setStartCmd('touch /tmp/started; sleep infinity', waitForFile('/tmp/started'))
  const build = await Template.buildInBackground(template, `${name}-behind`)
  const seen = new Set()
  const messages = []
  for (;;) {
    const status = await Template.getBuildStatus(build, { logsOffset: messages.length })
    seen.add(status.status)
    messages.push(...status.logEntries.map((entry) => entry.message))
    if (status.status === 'ready' && status.logEntries.length === 0) break
    assert.notEqual(status.status, 'error', JSON.stringify(status))
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.ok(seen.has('building') || seen.has('waiting'), [...seen].join())
  assert.match(messages.join('\n'), /a mark/)
  const box = await Sandbox.create(`${name}-behind`)
  assert.equal(await box.files.read('/tmp/made'), 'yes\n')
  await box.kill()
})

test('what cannot be built on is said so', limit, async () => {
  await assert.rejects(
    Template.build(Template().fromTemplate('no-such-template').runCmd('true'), `${name}-none`))
  assert.equal(await Template.exists('no-such-template'), false)
})
