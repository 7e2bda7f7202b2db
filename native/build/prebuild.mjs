#!/usr/bin/env node
// Makes prebuilds/<platform>-<arch>/agentinfer.<libc>.node, which the published package carries.   prebuild.mjs [x64|arm64]
// Another arch than this machine's is cross-compiled (native/build/linux-<arch>.cmake). prebuildify moves the file it built away,
// so it works in a folder of its own and leaves build/Release alone.
import { mkdirSync } from 'node:fs'
import path from 'node:path'

import prebuildify from 'prebuildify'

const root = path.resolve(import.meta.dirname, '../..')
const arch = process.argv[2] ?? process.arch
const cwd = path.join(root, `build/prebuild-${arch}`)
mkdirSync(cwd, { recursive: true })

const gnu = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[arch]
const options = {
  cwd,
  out: root,
  name: 'agentinfer',
  arch,
  targets: [process.versions.node],
  napi: true,
  strip: true,
  tagLibc: true,
  nodeGyp: path.join(root, 'native/build/addon.mjs'),
  ...(arch !== process.arch && { stripBin: `${gnu}-strip` }),
}
prebuildify(options, (error) => {
  if (error instanceof Error) {
    console.error(error.message)
    process.exit(1)
  }
})
