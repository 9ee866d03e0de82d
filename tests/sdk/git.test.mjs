// The git helpers, which are commands in the box, and a server in it.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sharedBox, until } from './support.mjs'

const box = sharedBox()

async function repository(path) {
  await box.git.init(path, { initialBranch: 'main' })
  await box.git.configureUser('Ada', 'ada@example.com')
  await box.files.write(`${path}/README`, 'first\n')
  await box.git.add(path)
  await box.git.commit(path, 'first commit')
}

test('init, status, add, commit', async () => {
  await repository('/home/user/plain')
  assert.equal((await box.git.status('/home/user/plain')).isClean, true)
  await box.files.write('plain/README', 'changed\n')
  await box.files.write('plain/new-file', 'new\n')
  const dirty = await box.git.status('/home/user/plain')
  assert.equal(dirty.currentBranch, 'main')
  assert.equal(dirty.isClean, false)
  assert.deepEqual(dirty.fileStatus.map((file) => [file.name, file.status]).sort(),
    [['README', 'modified'], ['new-file', 'untracked']])
  await box.git.add('/home/user/plain', { files: ['README'] })
  assert.equal((await box.git.status('/home/user/plain')).stagedCount, 1)
  await box.git.commit('/home/user/plain', 'second: "quoted" $HOME', {
    authorName: 'Eve', authorEmail: 'eve@example.com',
  })
  const log = await box.commands.run('git log --format=%an:%s', { cwd: '/home/user/plain' })
  assert.equal(log.stdout, 'Eve:second: "quoted" $HOME\nAda:first commit\n')
})

test('branches', async () => {
  await repository('/home/user/branches')
  await box.git.createBranch('/home/user/branches', 'side')
  assert.equal((await box.git.branches('/home/user/branches')).currentBranch, 'side')
  await box.git.checkoutBranch('/home/user/branches', 'main')
  const { branches, currentBranch } = await box.git.branches('/home/user/branches')
  assert.deepEqual(branches.sort(), ['main', 'side'])
  assert.equal(currentBranch, 'main')
  await box.git.deleteBranch('/home/user/branches', 'side')
  assert.deepEqual((await box.git.branches('/home/user/branches')).branches, ['main'])
})

test('clone from, push to and pull from a server in the box', async () => {
  await repository('/home/user/origin')
  await box.commands.run('mkdir -p srv && git clone -q --bare origin srv/repo.git')
  const daemon = await box.commands.run(
    'exec git daemon --reuseaddr --listen=127.0.0.1 --base-path=srv --export-all ' +
    '--enable=receive-pack srv',
    { background: true, timeoutMs: 0 })
  const url = 'git://127.0.0.1/repo.git'
  await until('git daemon serves', async () =>
    (await box.commands.run(`git ls-remote ${url} || true`)).stdout.includes('refs/heads/main'))

  await box.git.clone(url, { path: '/home/user/copy', depth: 1 })
  assert.equal(await box.files.read('copy/README'), 'first\n')
  assert.equal(await box.git.remoteGet('/home/user/copy', 'origin'), url)
  await box.files.write('copy/more', 'more\n')
  await box.git.add('/home/user/copy')
  await box.git.commit('/home/user/copy', 'more')
  assert.equal((await box.git.status('/home/user/copy')).ahead, 1)
  await box.git.push('/home/user/copy', { remote: 'origin', branch: 'main' })

  await box.git.remoteAdd('/home/user/origin', 'served', url, { fetch: true })
  await box.git.pull('/home/user/origin', { remote: 'served', branch: 'main' })
  assert.equal(await box.files.read('origin/more'), 'more\n')
  await assert.rejects(box.git.clone('git://127.0.0.1/none.git', { path: '/home/user/none' }))
  await daemon.kill()
})

test('settings', async () => {
  await box.git.setConfig('pull.rebase', 'false')
  assert.equal(await box.git.getConfig('pull.rebase'), 'false')
  assert.equal(await box.git.getConfig('no.such'), undefined)
})
