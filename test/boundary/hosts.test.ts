// What hosts other than plain Node allow: Electron keeps its memory in a cage, so an addon there may not hand out memory of its own; worker
// threads load the addon again and again; neither knows V8's C++ interface of the Node it was built with.
import { execFile, execFileSync } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'

import { describe, expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'

const root = path.join(import.meta.dirname, '../..')
const run = async (code: string, env: Record<string, string> = {}): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { cwd: root, env: { ...process.env, ...env } })
  return stdout
}

/** Names of the addon's dynamic symbols. `nm` shows a version behind those of the system's libraries; w: weak, which need not be there. */
function symbols(which: '--undefined-only' | '--defined-only'): { all: string[]; unversioned: string[] } {
  const listed = execFileSync('nm', ['-D', which, path.join(root, 'build/Release/agentinfer.node')], { encoding: 'utf8' })
  const lines = listed.trim().split('\n').map((line) => line.trim().split(/\s+/).slice(-2) as [string, string])
  return { all: lines.map(([, name]) => name), unversioned: lines.filter(([kind, name]) => kind !== 'w' && !name.includes('@')).map(([, name]) => name) }
}

describe.skipIf(process.platform !== 'linux')('the addon', () => {
  test('asks its host for Node-API alone, and never for memory outside the cage', () => {
    const { all, unversioned } = symbols('--undefined-only')
    expect(unversioned.filter((name) => /^n(ode_)?api_/.test(name)).length).toBeGreaterThan(40)
    expect(unversioned.filter((name) => !/^n(ode_)?api_/.test(name))).toEqual([])
    // Not even by another name: nothing of libuv, V8 or Node's C++ interface.
    expect(all.filter((name) => /^(uv_|_ZN?K?2v8|_ZN?K?4node)|create_external_|node_api_create_.*external|buffer_from_arraybuffer/.test(name))).toEqual([])
  })

  test('registers by its well-known symbols, so each environment of a process has its own, and shows nothing else', () => {
    expect(symbols('--defined-only').all.toSorted()).toEqual(['napi_register_module_v1', 'node_api_module_get_api_version_v1'])
  })
})

const generate = `async function generate({ Engine }) {
  const engine = await Engine.open({ model: ${JSON.stringify(checkpoint('pangu'))}, threads: 1, maxContext: 64 })
  const { tokens } = await engine.generate({ tokens: [5, 6, 7], maxTokens: 6, ignoreEos: true, sampling: { temperature: 0 } }).response
  await engine.close()
  return tokens.join()
}`

test('it loads where Electron runs as Node', async () => {
  const code = `${generate}; console.log(await generate(await import('agentinfer')))`
  expect(await run(code, { ELECTRON_RUN_AS_NODE: '1' })).toBe(await run(code))
})

test('worker threads that come and go load it anew, one after another and at once, and so does the main thread behind them', async () => {
  const worker = JSON.stringify(`
    import { parentPort } from 'node:worker_threads'
    ${generate}
    parentPort.postMessage(await generate(await import('agentinfer')))`)
  const said = await run(`import { Worker } from 'node:worker_threads'
    ${generate}
    const work = () => new Promise((resolve, reject) => {
      let text
      new Worker(${worker}, { eval: true }).on('message', (message) => (text = message)).on('error', reject).on('exit', () => resolve(text))
    })
    const all = [await work(), await work(), ...await Promise.all([work(), work()]), await generate(await import('agentinfer'))]
    console.log(new Set(all).size, all[0].split(',').length)`)
  expect(said).toBe('1 6\n')
})
