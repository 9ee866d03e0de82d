// Loaded before everything else where boxes have host names: does what a wildcard in the DNS does.

import dns from 'node:dns'

const zone = `.${process.env.E2B_DOMAIN.split(':')[0]}`
const { lookup } = dns

dns.lookup = (name, ...rest) => lookup(name.endsWith(zone) ? '127.0.0.1' : name, ...rest)
