// Ends that must be clean: an environment that goes away with an engine open, busy, or still loading. Each runs in a process of its own.
import { spawn } from 'node:child_process'

import { expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'

const model = JSON.stringify(checkpoint('pangu'))
const open = `const { Engine } = await import('agentinfer');
const engine = await Engine.open({ model: ${model}, maxContext: 512, threads: 2 });`
const busy = `const stream = engine.generate({ tokens: [5, 6, 7], maxTokens: 400, ignoreEos: true });
stream.response.catch(() => undefined);`

/** Runs ESM code in a fresh Node; resolves with how it ended. */
function run(code: string): Promise<{ code: number | null; signal: string | null; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'pipe'] })
    let out = ''
    let err = ''
    child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    child.on('close', (exit, signal) => resolve({ code: exit, signal, out, err }))
  })
}

test('an open, idle engine does not keep the process alive', async () => {
  expect(await run(`${open} console.log('open')`)).toEqual({ code: 0, signal: null, out: 'open\n', err: '' })
})

test('process.exit with work queued', async () => {
  const ended = await run(`${open} ${busy} for await (const _ of stream) { console.log('first'); process.exit(3) }`)
  expect(ended).toEqual({ code: 3, signal: null, out: 'first\n', err: '' })
})

test('process.exit while loading', async () => {
  const ended = await run(`const { Engine } = await import('agentinfer');
    Engine.open({ model: ${model} }); setImmediate(() => process.exit(4))`)
  expect(ended).toEqual({ code: 4, signal: null, out: '', err: '' })
})

test('an uncaught error with work queued', async () => {
  const ended = await run(`${open} ${busy} await stream[Symbol.asyncIterator]().next(); throw new Error('on purpose')`)
  expect(ended.code).toBe(1)
  expect(ended.signal).toBe(null)
  expect(ended.err).toContain('on purpose')
})

test('two worker threads with engines of their own; one is terminated in mid-generation', async () => {
  const worker = JSON.stringify(`
    import { parentPort } from 'node:worker_threads';
    import { Engine } from 'agentinfer';
    const engine = await Engine.open({ model: ${model}, maxContext: 512, threads: 1 });
    const stream = engine.generate({ tokens: [5, 6, 7], maxTokens: 300, ignoreEos: true, sampling: { temperature: 0 } });
    for await (const delta of stream) parentPort.postMessage(delta.tokens.length);
    await engine.close();
    parentPort.postMessage('done')`)
  const ended = await run(`import { Worker } from 'node:worker_threads';
    const start = () => new Worker(${worker}, { eval: true });
    const victim = start(), survivor = start();
    victim.once('message', () => victim.terminate());
    const exits = [victim, survivor].map((w) => new Promise((resolve) => w.on('exit', resolve)));
    survivor.on('message', (m) => { if (m === 'done') console.log('survivor done') });
    await Promise.all(exits); console.log('ended')`)
  expect(ended).toEqual({ code: 0, signal: null, out: 'survivor done\nended\n', err: '' })
})

test('an engine that is dropped without close is collected', async () => {
  const ended = await run(`import { setFlagsFromString } from 'node:v8'; import { runInNewContext } from 'node:vm';
    setFlagsFromString('--expose-gc'); const gc = runInNewContext('gc');
    const { Engine } = await import('agentinfer');
    for (let i = 0; i < 4; ++i) { await Engine.open({ model: ${model}, maxContext: 64 }); gc(); }
    console.log('ok')`)
  expect(ended).toEqual({ code: 0, signal: null, out: 'ok\n', err: '' })
})
