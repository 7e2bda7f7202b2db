// CommonJS in both builds, because only CommonJS knows its own folder without import.meta. Loaded by native.ts alone.
import path = require('node:path')

const nodeGypBuild = require('node-gyp-build') as (folder: string) => unknown

const packageRoot = path.join(__dirname, '..', '..')

export = {
  packageRoot,
  load: (): unknown => nodeGypBuild(packageRoot),
}
