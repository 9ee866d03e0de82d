#!/usr/bin/env node
// Narrows a token of hako without asking anybody: narrow-token.mjs TOKEN CAVEAT...
//
//     narrow-token.mjs "$HAKO_API_KEY" "sandbox = iabc123" "expires < 2027-01-01T00:00:00Z"
import { createHmac } from 'node:crypto'

export function narrow(token, ...caveats) {
  const data = Buffer.from(token.replace(/^e2b_/, ''), 'hex')
  let body = data.subarray(0, -32)
  let signature = data.subarray(-32)
  for (const caveat of caveats) {
    signature = createHmac('sha256', signature).update(caveat).digest()
    body = Buffer.concat([body, Buffer.from(caveat + '\n')])
  }
  return 'e2b_' + Buffer.concat([body, signature]).toString('hex')
}

if (process.argv.length > 2) console.log(narrow(...process.argv.slice(2)))
