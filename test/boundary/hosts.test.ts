// What hosts other than plain Node allow: Electron keeps its memory in a cage, so an addon there may not hand out memory of its own; worker
// threads load the addon again and again; neither knows V8's C++ interface of the Node it was built with.
import { execFile, execFileSync } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'

import { expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'

const root = path.join(import.meta.dirname, '../..')
const run = async (code: string, env: Record<string, string> = {}): Promise<string> => {
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', code], { cwd: root, env: { ...process.env, ...env } })
  return stdout
}

test.skipIf(process.platform !== 'linux')('the addon asks its host for Node-API alone, and never for external memory', () => {
  const listed = execFileSync('nm', ['-D', '--undefined-only', path.join(root, 'build/Release/agentinfer.node')], { encoding: 'utf8' })
  const symbols = listed.trim().split('\n').map((line) => line.trim().split(/\s+/).at(-1)!)
  expect(symbols.filter((symbol) => symbol.startsWith('napi_')).length).toBeGreaterThan(20)
  expect(symbols.filter((symbol) => /^(uv_|_ZN?K?2v8|_ZN?K?4node)/.test(symbol))).toEqual([])
  expect(symbols.filter((symbol) => /external_(arraybuffer|buffer|string)/.test(symbol))).toEqual([])
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
