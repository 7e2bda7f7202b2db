#!/usr/bin/env node
// Builds the addon with cmake-js: build/Release/agentinfer.node in the current folder, CMake's own files in its build/cmake. `npm run build:native`
// and binding.gyp run it in the package's root; others run it in a folder of their own to keep a second build apart.
//   addon.mjs [--arch x64|arm64] [-DNAME=VALUE ...]
// prebuildify runs it in place of node-gyp, so node-gyp's other arguments are accepted and mean nothing here.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '../..')
const here = process.cwd()
const args = process.argv.slice(2)
const arch = args.join(' ').match(/--arch[= ](\w+)/)?.[1] ?? process.arch
const definitions = args.filter((arg) => arg.startsWith('-D')).map((arg) => arg.slice(2))
if (arch !== process.arch) definitions.push(`CMAKE_TOOLCHAIN_FILE=${root}/native/build/linux-${arch}.cmake`)

function run(command, commandArgs, options) {
  const { status, error } = spawnSync(command, commandArgs, { stdio: 'inherit', ...options })
  return error === undefined && status === 0
}

function cmakeJs(...commandArgs) {
  const main = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
  const place = ['--directory', root, '--out', path.join(here, 'build/cmake'), '--arch', arch]
  if (!run(process.execPath, [main, ...commandArgs, ...place])) process.exit(1)
}

if (!run('cmake', ['--version'], { stdio: 'ignore' })) {
  console.error('agentinfer: building the addon needs CMake 3.22 or newer and a C++20 compiler (GCC 11, Clang 14 or newer); cmake is not on the PATH.')
  console.error('On Debian and Ubuntu: apt-get install cmake g++. On macOS: brew install cmake.')
  process.exit(1)
}
const defined = [...definitions, `AGENTINFER_ADDON_DIR=${path.join(here, 'build')}`]
cmakeJs('configure', ...defined.map((definition) => `--CD${definition}`))
cmakeJs('build', '--target', 'agentinfer', '--parallel', String(os.availableParallelism()))
