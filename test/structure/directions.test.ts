/** Who may know whom. The architecture holds only as long as these do. */
import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'

import { describe, expect, test } from 'vitest'

const root = path.resolve(import.meta.dirname, '../..')

function filesUnder(folder: string, ending: RegExp): string[] {
  return readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => ending.test(file))
    .map((file) => path.join(folder, file))
}

function matches(file: string, pattern: RegExp): string[] {
  return Array.from(readFileSync(path.join(root, file), 'utf8').matchAll(pattern), ([, found]) => found!)
}

describe('TypeScript', () => {
  /** What each folder of lib/ may import beside itself: folders and files of lib/, and what is not ours. */
  const allowed: Record<string, readonly (string | RegExp)[]> = {
    // Policies are pure: no clock, no file, no native call. Their options are refused as others are.
    policy: ['text', 'errors'],
    text: ['native', 'errors', /^node:(fs\/promises|os|path|vm)$/, '@huggingface/jinja'],
    engine: ['policy', 'text', 'native', 'options', 'option_schemas', 'errors', 'diagnostics', 'node:crypto'],
    agent: ['engine', 'policy', 'text', 'options', 'option_schemas', 'errors', 'diagnostics', 'zod', 'node:crypto'],
    cli: ['engine', 'text', 'native', 'options', 'errors', 'limits', 'commander', /^node:/],
  }

  test('every folder has its rule', () => {
    const folders = readdirSync(path.join(root, 'lib'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
    expect(folders.map(({ name }) => name).toSorted()).toEqual(Object.keys(allowed).toSorted())
  })

  test.each(Object.entries(allowed))('lib/%s imports only what it may', (folder, rules) => {
    const files = filesUnder(`lib/${folder}`, /\.ts$/)
    expect(files.length).toBeGreaterThan(0)
    const wrong: string[] = []
    for (const file of files)
      for (const specifier of matches(file, /(?:from|import|import\() ?'([^']+)'/g)) {
        if (specifier.startsWith('./')) continue
        const target = specifier.startsWith('../') ? specifier.slice(3).split('/')[0]!.replace(/\.js$/, '') : specifier
        if (!rules.some((rule) => (typeof rule === 'string' ? rule === target : rule.test(target)))) wrong.push(`${file}: ${specifier}`)
      }
    expect(wrong).toEqual([])
  })

  test('only lib/native.ts loads the addon', () => {
    const loaders = filesUnder('lib', /\.c?ts$/).filter((file) => matches(file, /(?:from|require\()\s*'(\.\/addon\.cjs|node-gyp-build)'/g).length > 0)
    expect(loaders.toSorted()).toEqual(['lib/addon.cts', 'lib/native.ts'])
  })
})

describe('C++', () => {
  /** Direct uses, as CMakeLists.txt states them; what a layer uses is used by those above it as well. */
  const uses: Record<string, readonly string[]> = Object.fromEntries(
    matches('CMakeLists.txt', /^agentinfer_layer\((.*)\)$/gm).map((call) => {
      const [, name, , list] = /^(\w+) SOURCES \S+( USES (.*))?$/.exec(call)!
      return [name!, list?.split(' ') ?? []]
    }),
  )
  const reachable = (layer: string): string[] => [layer, ...uses[layer]!.flatMap(reachable)]

  test('the layers are known', () => {
    expect(Object.keys(uses)).toEqual(expect.arrayContaining(['tensor', 'text', 'kv', 'draft', 'backend', 'parallel', 'model', 'engine']))
    expect(uses['tensor']).toEqual([])
  })

  test.each(Object.keys(uses))('native/%s includes only layers below it', (layer) => {
    const files = filesUnder(`native/${layer}`, /\.(cc|h)$/)
    expect(files.length).toBeGreaterThan(0)
    const wrong: string[] = []
    for (const file of files)
      for (const include of matches(file, /^#include "(\w+)\//gm)) if (!reachable(layer).includes(include)) wrong.push(`${file}: ${include}/`)
    expect(wrong).toEqual([])
  })

  test('Node is known to the binding alone', () => {
    const wrong = filesUnder('native', /\.(cc|h)$/).filter(
      (file) => !file.startsWith('native/binding/') && matches(file, /#include <((?:napi|node_api|node|uv|v8)\.h)>/g).length > 0,
    )
    expect(wrong).toEqual([])
  })

  test('the two backends do not know each other', () => {
    for (const [one, other] of [['cpu', 'ascend'], ['ascend', 'cpu']] as const)
      for (const file of filesUnder(`native/backend/${one}`, /\.(cc|h)$/))
        expect(matches(file, /#include "(backend\/\w+\/)/g), file).not.toContain(`backend/${other}/`)
  })
})

test('no file knows too much: none is above 500 lines', () => {
  const files = ['native', 'lib', 'bench'].flatMap((folder) => filesUnder(folder, /\.(cc|h|ts)$/)).filter((file) => !file.includes('node_modules'))
  const long = files.filter((file) => readFileSync(path.join(root, file), 'utf8').split('\n').length > 501)
  expect(long).toEqual([])
})
