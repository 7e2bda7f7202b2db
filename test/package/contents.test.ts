import { readFileSync } from 'node:fs'
import path from 'node:path'

import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { type Packed, discard, pack, root, run } from './consumer.js'

let packed: Packed
beforeAll(async () => {
  packed = await pack()
})
afterAll(() => discard(packed.tarball))

test('the tarball holds the built package and nothing else', () => {
  const expected = [
    /^package\.json$/,
    /^README\.md$/,
    /^LICENSE$/,
    /^CHANGELOG\.md$/,
    /^llms\.txt$/,
    /^(lib|native)\/[a-z/]+\.(ts|md)$/i, // those that llms.txt names
    /^dist\/esm\/([a-z0-9_]+\/)*[a-z0-9_]+\.(js|cjs|d\.ts|d\.cts)$/,
    /^dist\/cjs\/([a-z0-9_]+\/)*[a-z0-9_]+\.(js|cjs|d\.ts|d\.cts)$/,
    /^dist\/cjs\/package\.json$/,
    /^dist\/bench\/([a-z0-9_-]+\/)*[a-z0-9_-]+\.js$/,
    /^dist\/bench\/tokenizer\/tokenizer(\.model|_config\.json)$/,
    /^dist\/bench\/vega\/([a-z-]+\.min\.js|LICENSE\.[a-z-]+)$/,
    /^prebuilds\/(linux|darwin)-(x64|arm64)\/agentinfer\.(glibc|musl)\.node$/,
  ]
  const paths = packed.files.map((file) => file.path)
  expect(paths.filter((file) => !expected.some((pattern) => pattern.test(file)))).toEqual([])
  for (const pattern of expected) expect(paths).toContainEqual(expect.stringMatching(pattern))
  expect(paths.filter((file) => /^dist\/(cjs\/cli|bench\/(models|research-world|paper|demo|cases\/(paper|peer)))/.test(file))).toEqual([])
})

test('a prebuild for this machine is inside', () => {
  const paths = packed.files.map((file) => file.path)
  expect(paths, 'npm run prebuild makes it').toContain(`prebuilds/${process.platform}-${process.arch}/agentinfer.glibc.node`)
})

test('what llms.txt names is inside, and of the sources nothing else', () => {
  const named = Array.from(readFileSync(path.join(root, 'llms.txt'), 'utf8').matchAll(/\]\((?!https?:)([^)#]+)\)/g), ([, target]) => target!)
  const paths = packed.files.map((file) => file.path)
  expect(named.filter((file) => !paths.includes(file))).toEqual([])
  expect(paths.filter((file) => /^(lib|native)\//.test(file) && !named.includes(file))).toEqual([])
})

test('it stays small', () => {
  expect(packed.size).toBeLessThan(4e6)
  expect(packed.unpackedSize).toBeLessThan(10e6)
})

// openEuler 22.03 and Ubuntu 22.04, which Ascend hosts run, have glibc 2.34 and 2.35.
test('the addon needs nothing newer than glibc 2.34, and brings its own C++ library', () => {
  const addons = packed.files.filter((file) => /prebuilds\/linux-.*\.node$/.test(file.path))
  expect(addons.length).toBeGreaterThan(0)
  for (const { path: file } of addons) {
    const binary = readFileSync(path.join(root, file), 'latin1')
    const minors = Array.from(binary.matchAll(/\0GLIBC_2\.(\d+)(?=[.\0])/g), ([, minor]) => Number(minor))
    expect(Math.max(...minors), file).toBeLessThanOrEqual(34)
    expect(binary, file).not.toContain('libstdc++.so')
  }
})

test('publint finds nothing', async () => {
  const data = readFileSync(packed.tarball)
  const tarball = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength)
  const { messages, pkg } = await publint({ strict: true, pack: { tarball } })
  expect(messages.map((message) => formatMessage(message, pkg))).toEqual([])
})

test('arethetypeswrong finds nothing', async () => {
  const main = path.join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js')
  const ended = await run(process.execPath, [main, '--no-color', packed.tarball], root)
  expect(ended.code, ended.stdout + ended.stderr).toBe(0)
})
