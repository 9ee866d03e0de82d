// Picks which of the pinned clients a run uses, and nothing else: they are as published.
//
// HAKO_NPM_DIR holds their node_modules, HAKO_SDK names one of package.json's dependencies.

import { createRequire } from 'node:module'

const require = createRequire(`${process.env.HAKO_NPM_DIR}/`)
const name = process.env.HAKO_SDK ?? 'e2b'

export const sdk = require(name)
export const version = require(`${name}/package.json`).version

export const {
  AuthenticationError,
  BuildError,
  CommandExitError,
  FileNotFoundError,
  FileType,
  FilesystemEventType,
  InvalidArgumentError,
  NotEnoughSpaceError,
  NotFoundError,
  Sandbox,
  SandboxError,
  SandboxNotFoundError,
  Secret,
  SecretNotFoundError,
  Template,
  TimeoutError,
  waitForFile,
  waitForPort,
} = sdk

/** The clients that are tested from 2.45 on differ in little; this tells them apart. */
export const atLeast = (minor) => Number(version.split('.')[1]) >= minor

/** @e2b/code-interpreter, which brings the newest of the pinned e2b packages. */
export const codeInterpreter = () => require('@e2b/code-interpreter')
