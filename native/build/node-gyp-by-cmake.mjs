#!/usr/bin/env node
// What prebuildify runs instead of node-gyp: it passes node-gyp's arguments, which cmake-js would read differently, so they are dropped.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'

const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js')
const { status } = spawnSync(process.execPath, [cmakeJs, 'compile', '--out', 'build/cmake'], { stdio: 'inherit' })
process.exit(status ?? 1)
