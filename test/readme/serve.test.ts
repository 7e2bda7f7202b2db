// What the README shows runs as it stands, but for the model's folder.
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { afterAll, expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
/** Inside the package, so that it is found by its name. */
const folder = path.join(root, 'build', `readme-${process.pid}`)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The first TypeScript block under a heading, type-checked, compiled and run: what it prints. */
async function example(heading: string): Promise<string> {
  const readme = readFileSync(path.join(root, 'README.md'), 'utf8')
  const section = readme.slice(readme.indexOf(`\n## ${heading}\n`))
  const code = /```ts\n(.*?)```/s.exec(section)![1]!.replace(/'\/models\/[^']*'/g, JSON.stringify(checkpoint('pangu')))
  mkdirSync(folder, { recursive: true })
  writeFileSync(path.join(folder, 'example.mts'), code)
  const compiler = { extends: '../../tsconfig.json', compilerOptions: { target: 'es2022', rootDir: '.', outDir: 'out', declaration: false }, include: ['example.mts'] }
  writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify(compiler))
  await run(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', folder])
  const { stdout } = await run(process.execPath, [path.join(folder, 'out/example.mjs')])
  return stdout
}

test('32 concurrent streams share a system prompt, and the hit rate shows it', async () => {
  const [, answers, rate] = /^(\d+) answers; (\d+) % of \d+ prompt tokens were in the cache\n$/.exec(await example('Serve'))!
  expect(Number(answers)).toBe(32)
  expect(Number(rate)).toBeGreaterThan(50)
})
