// What the compiled benchmarks need beside their code, copied into dist/bench: a tokenizer for random models, and the plots' library with
// its licences for the pages. `npm run build:bench` runs it.
import { cpSync, existsSync, mkdirSync } from 'node:fs'
import path from 'node:path'

const root = path.join(import.meta.dirname, '..')
const target = path.join(root, 'dist/bench')

mkdirSync(path.join(target, 'tokenizer'), { recursive: true })
for (const file of ['tokenizer.model', 'tokenizer_config.json'])
  cpSync(path.join(root, 'test/fixtures/checkpoints/pangu', file), path.join(target, 'tokenizer', file))

mkdirSync(path.join(target, 'vega'), { recursive: true })
for (const name of ['vega', 'vega-lite', 'vega-embed']) {
  const from = path.join(root, 'node_modules', name)
  if (existsSync(from)) {
    cpSync(path.join(from, 'build', `${name}.min.js`), path.join(target, 'vega', `${name}.min.js`))
    cpSync(path.join(from, 'LICENSE'), path.join(target, 'vega', `LICENSE.${name}`))
  } else {
    process.stderr.write(`${name} is not installed, so pages cannot be written: npm ci\n`)
  }
}
