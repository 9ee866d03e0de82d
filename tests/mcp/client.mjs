// The protocol's own client, as published, over the transport that a run names.

import { createRequire } from 'node:module'

const require = createRequire(`${process.env.HAKO_NPM_DIR}/`)
const { Client } = require('@modelcontextprotocol/sdk/client/index.js')
const { StdioClientTransport } = require('@modelcontextprotocol/sdk/client/stdio.js')
const { StreamableHTTPClientTransport } = require('@modelcontextprotocol/sdk/client/streamableHttp.js')
export const { McpError } = require('@modelcontextprotocol/sdk/types.js')

export const kind = process.env.HAKO_MCP_TRANSPORT

function transport() {
  if (kind === 'stdio') {
    return new StdioClientTransport({
      command: process.env.HAKO_PROGRAM,
      args: ['mcp'],
      env: { HAKO_API_URL: process.env.HAKO_API_URL, HAKO_API_KEY: process.env.HAKO_API_KEY },
    })
  }
  const headers = { 'X-API-Key': process.env.HAKO_API_KEY }
  return new StreamableHTTPClientTransport(new URL('/mcp', process.env.HAKO_API_URL), {
    requestInit: { headers },
  })
}

/** Every tool that was called, so that none is forgotten. */
export const called = new Set()

/** A connected client; `call` returns what a tool gives, and throws what it says went wrong. */
export async function connect() {
  const client = new Client({ name: 'hako-tests', version: '1' })
  await client.connect(transport())
  const raw = (name, args, options) => {
    called.add(name)
    return client.callTool({ name, arguments: args }, undefined, options)
  }
  const call = async (name, args, options) => {
    const result = await raw(name, args, options)
    if (result.isError) throw new Error(result.content[0].text)
    return result.structuredContent
  }
  return { client, raw, call }
}

/** Asks until it is true. */
export async function until(what, ask, milliseconds = 30_000) {
  const end = Date.now() + milliseconds
  for (;;) {
    const answer = await ask()
    if (answer) return answer
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}
