#!/usr/bin/env node
/** `npm run demo`: builds what is not there yet, then runs the demo. Options are the demo's: see demo.ts. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../', import.meta.url))

function run(command, args, stdio) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd: root, stdio, encoding: 'utf8', shell: process.platform === 'win32' })
  if (error !== undefined) throw error
  if (status === 0) return
  if (stdio !== 'inherit') process.stderr.write(`${stdout}${stderr}`)
  process.exit(status ?? 1)
}

const missing = ['dist/esm/index.js', 'build/Release/agentinfer.node'].filter((file) => !existsSync(root + file))
if (missing.length > 0) {
  process.stdout.write('building agentinfer, which takes some minutes once\n')
  run('npm', ['run', '--silent', 'prepare'], 'inherit')
}
run('npm', ['run', '--silent', 'build:bench'], 'pipe')
run(process.execPath, ['dist/bench/demo/main.js', ...process.argv.slice(2)], 'inherit')
