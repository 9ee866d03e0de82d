// What several test files need: a box for a file, waiting for something, raw requests to a box.

import http from 'node:http'
import { after, before } from 'node:test'
import { Sandbox } from './sdk.mjs'

/** Marks what a run makes, so that it can be found among what others made. */
export const runId = `run-${process.pid}-${Date.now()}`

/**
 * One box for all tests of a file, killed after them. Its fields are there once tests run.
 * @returns {Sandbox}
 */
export function sharedBox(options = {}) {
  const holder = {}
  before(async () => {
    holder.box = await Sandbox.create({ timeoutMs: 300_000, ...options })
  })
  after(async () => {
    await holder.box?.kill()
  })
  return new Proxy({}, {
    get: (_, name) => {
      const value = holder.box[name]
      return typeof value === 'function' ? value.bind(holder.box) : value
    },
  })
}

/**
 * Asks again and again until `ask` gives something true, and gives that back.
 * @param {string} what said when it never comes
 */
export async function until(what, ask, milliseconds = 60_000) {
  const end = Date.now() + milliseconds
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    if (Date.now() > end) throw new Error(`waited ${milliseconds} ms in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** A promise, its resolve and its reject. */
export function deferred() {
  const parts = {}
  parts.promise = new Promise((resolve, reject) => Object.assign(parts, { resolve, reject }))
  return parts
}

/** A request to a service on `port` of a box, named in the headers as the clients name envd's. */
export function throughHeaders(box, port, path = '/', options = {}) {
  return fetch(new URL(path, process.env.E2B_SANDBOX_URL), {
    ...options,
    headers: { 'E2b-Sandbox-Id': box.sandboxId, 'E2b-Sandbox-Port': `${port}`, ...options.headers },
  })
}

/**
 * A request to hako whose Host is `host`, as a wildcard domain would bring it; fetch sets none.
 * @returns {Promise<{status: number, body: string}>}
 */
export function throughHost(host, path = '/') {
  return new Promise((resolve, reject) => {
    const request = http.get(new URL(path, process.env.E2B_SANDBOX_URL), { headers: { host } })
    request.on('error', reject)
    request.on('response', async (response) => {
      let body = ''
      for await (const piece of response) body += piece
      resolve({ status: response.statusCode, body })
    })
  })
}

/** `length` bytes that differ for each `seed`, the same each time. */
export function numberedBytes(length, seed) {
  const bytes = new Uint8Array(length)
  let state = (seed * 2654435761 + 1) >>> 0
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes[i] = state >>> 24
  }
  return bytes
}
