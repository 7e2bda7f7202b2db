import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'
import { discard, install, manifest, pack, root, run } from './consumer.js'

let tarball: string
let project: string
beforeAll(async () => {
  tarball = (await pack()).tarball
  project = await install(tarball)
})
afterAll(() => discard(tarball))

const options = `{ tokens: [5, 6, 7, 8], maxTokens: 8, ignoreEos: true, sampling: { temperature: 0 } }`
const generate = `async function generate({ Engine, AgentInferError }) {
  const engine = await Engine.open({ model: ${JSON.stringify(checkpoint('pangu'))}, threads: 1, maxContext: 64 })
  const { tokens } = await engine.generate(${options}).response
  await engine.close()
  const addons = process.report.getReport().sharedObjects.filter((file) => file.endsWith('.node'))
  const refused = await Engine.open({ nonsense: 1 }).catch((error) => error)
  return JSON.stringify({ tokens, addons, refused: refused instanceof AgentInferError && refused.code })
}`

interface Said {
  tokens: number[]
  addons: string[]
  refused: string
}

async function node(file: string, source: string): Promise<Said> {
  writeFileSync(path.join(project, file), source)
  const { stdout, stderr, code } = await run(process.execPath, [file], project)
  expect({ stderr, code }).toEqual({ stderr: '', code: 0 })
  return JSON.parse(stdout) as Said
}

const inWorker = (load: string): string => `
  const { Worker, isMainThread, parentPort } = await import('node:worker_threads')
  ${generate}
  if (isMainThread) new Worker(new URL(import.meta.url)).on('message', console.log)
  else parentPort.postMessage(await generate(${load}))`

describe('generates from the prebuilt addon', () => {
  const programs: [string, string, string][] = [
    ['import', 'import.mjs', `import * as agentinfer from 'agentinfer'\n${generate}\nconsole.log(await generate(agentinfer))`],
    ['require', 'require.cjs', `${generate}\ngenerate(require('agentinfer')).then(console.log)`],
    ['import where Electron runs as Node', 'electron.mjs', `process.env.ELECTRON_RUN_AS_NODE = '1'\n${generate}\nconsole.log(await generate(await import('agentinfer')))`],
    ['import in a worker thread', 'worker.mjs', inWorker(`await import('agentinfer')`)],
    [
      'require in a worker thread',
      'require_worker.mjs',
      inWorker(`(await import('node:module')).createRequire(import.meta.url)('agentinfer')`),
    ],
  ]
  test.each(programs)('%s', async (_how, file, source) => {
    const said = await node(file, source)
    expect(said.tokens).toHaveLength(8)
    expect(said.addons).toEqual([path.join(project, `node_modules/agentinfer/prebuilds/${process.platform}-${process.arch}/agentinfer.glibc.node`)])
    expect(said.refused).toBe('ERR_INVALID_ARGUMENT')
  })
})

test('import and require in one program: one addon, and errors of either are errors of both', async () => {
  const source = `import * as esm from 'agentinfer'; import { createRequire } from 'node:module'
    const cjs = createRequire(import.meta.url)('agentinfer')
    ${generate}
    const said = JSON.parse(await generate({ Engine: cjs.Engine, AgentInferError: esm.AgentInferError }))
    console.log(await generate({ Engine: esm.Engine, AgentInferError: cjs.AgentInferError }))
    if (said.refused !== 'ERR_INVALID_ARGUMENT') throw new Error(said.refused)`
  const said = await node('both.mjs', source)
  expect(said.addons).toHaveLength(1)
  expect(said.refused).toBe('ERR_INVALID_ARGUMENT')
})

test('inner files cannot be imported', async () => {
  const ended = await run(process.execPath, ['-e', `require('agentinfer/dist/cjs/native.js')`], project)
  expect(ended.stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED')
})

describe('types pass a strict check, with those of the dependencies', () => {
  const body = `
    async function main(signal: AbortSignal): Promise<string> {
      const engine = await Engine.open({ model: 'folder', weights: 'int8', signal, onProgress: ({ done, total }) => void (done / total) })
      const stream: GenerationStream = engine.generate({ messages: [{ role: 'user', content: 'hi' }], sampling: { temperature: 0.5 } })
      for await (const delta of stream) delta.text satisfies string
      const { usage, finishReason } = await stream.response
      // @ts-expect-error unknown options are refused by the compiler too
      engine.generate({ prompt: 'x', nonsense: 1 })
      await engine.close()
      return finishReason + usage.completionTokens
    }
    void main(new AbortController().signal).catch((error: unknown) => {
      if (error instanceof AgentInferError) { const code: ErrorCode = error.code; console.log(code) }
    })`
  const imports = `import { AgentInferError, Engine } from 'agentinfer'\nimport type { ErrorCode, GenerationStream } from 'agentinfer'\n`
  test.each([
    ['nodenext', 'types.mts', 'nodenext', 'nodenext'],
    ['nodenext', 'types.cts', 'nodenext', 'nodenext'],
    ['bundler', 'types.ts', 'esnext', 'bundler'],
  ])('%s, %s', async (_name, file, module, moduleResolution) => {
    writeFileSync(path.join(project, file), imports + body)
    const config = {
      compilerOptions: {
        module,
        moduleResolution,
        target: 'es2023',
        strict: true,
        exactOptionalPropertyTypes: true,
        skipLibCheck: false,
        noEmit: true,
        types: ['node'],
        typeRoots: [path.join(root, 'node_modules/@types')],
      },
      files: [file],
    }
    writeFileSync(path.join(project, 'tsconfig.json'), JSON.stringify(config))
    const ended = await run(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', project], project)
    expect(ended.code, ended.stdout).toBe(0)
  })
})

test('the command line tool is installed and works', async () => {
  const tool = path.join(project, 'node_modules/.bin/agentinfer')
  const version = await run(tool, ['--version'], project)
  expect(version.stdout.trim()).toBe(manifest.version)
  const doctor = await run(tool, ['doctor'], project)
  expect(doctor.code, doctor.stdout).toBe(0)
  expect(doctor.stdout).toContain('prebuilds')
  const ended = await run(tool, ['generate', '--model', checkpoint('pangu'), '--prompt', 'Hello', '--max-tokens', '5'], project)
  expect(ended.code, ended.stderr).toBe(0)
})

test('the benchmarks come with it, and run where nothing else is', async () => {
  const tool = path.join(project, 'node_modules/.bin/agentinfer')
  const flags = ['--model', checkpoint('pangu'), '--rounds', '1', '--sequences', '1', '--input', '16', '--output', '8', '--json', 'bench.json', '--html', 'bench.html']
  const ended = await run(tool, ['bench', 'throughput', ...flags], project)
  expect(ended.code, ended.stderr).toBe(0)
  const { environment, rows } = JSON.parse(readFileSync(path.join(project, 'bench.json'), 'utf8')) as { environment: { package: string }; rows: unknown[] }
  expect(environment.package).toBe(manifest.version)
  expect(rows.length).toBeGreaterThan(2)
  expect(readFileSync(path.join(project, 'bench.html'), 'utf8')).toContain('vegaEmbed(')
})

test('it lists the benchmarks that come with it, and says where the others are', async () => {
  const tool = path.join(project, 'node_modules/.bin/agentinfer')
  const list = await run(tool, ['bench'], project)
  expect(list.code, list.stderr).toBe(0)
  for (const name of ['throughput', 'latency', 'serve', 'agents', 'draft', 'sched', 'ablation']) expect(list.stdout).toContain(`  ${name} `)
  for (const name of ['paper', 'peer']) {
    expect(list.stdout).not.toContain(`  ${name} `)
    const ended = await run(tool, ['bench', name], project)
    expect([ended.code, ended.stderr.split('\n')[0]]).toEqual([2, `the case '${name}' is not in the package: in a clone, run npm run bench -- ${name}`])
  }
  const recorded = await run(tool, ['bench', 'agents', '--only', 'recorded'], project)
  expect(recorded.code).toBe(1)
  expect(recorded.stderr).toContain("--trace: expected a saved run, as the models that runs are recorded of are not here, got ''")
})

test('without a prebuild for this machine the error names the places looked at and the way out', async () => {
  const broken = path.join(path.dirname(project), 'broken')
  cpSync(project, broken, { recursive: true })
  rmSync(path.join(broken, 'node_modules/agentinfer/prebuilds'), { recursive: true })
  const source = `require('agentinfer').Engine.open({ model: 'x' }).catch((error) => console.log(error.code, error.message))`
  const { stdout } = await run(process.execPath, ['-e', source], broken)
  expect(stdout).toContain('ERR_ADDON_NOT_FOUND')
  expect(stdout).toContain(path.join(broken, 'node_modules/agentinfer/prebuilds', `${process.platform}-${process.arch}`))
  expect(stdout).toContain('agentinfer doctor')
})
