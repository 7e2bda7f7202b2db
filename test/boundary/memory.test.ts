// The engine's thread without any memory: whoever waits for it is told.
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { promisify } from 'node:util'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { checkpoint } from '../fixtures/paths.js'

const run = promisify(execFile)
const folder = mkdtempSync(path.join(tmpdir(), 'agentinfer-memory-'))
const library = path.join(folder, 'failing_malloc.so')

beforeAll(() => run('cc', ['-shared', '-fPIC', '-O1', '-o', library, path.join(import.meta.dirname, 'failing_malloc.c'), '-ldl']))
afterAll(() => rmSync(folder, { recursive: true }))

test.runIf(process.platform === 'linux')('a result that finds no memory fails its requests, and closing needs none', async () => {
  const code = `const { Engine } = await import('agentinfer')
    const engine = await Engine.open({ model: ${JSON.stringify(checkpoint('pangu'))}, maxContext: 512, threads: 1 })
    const stream = engine.generate({ tokens: [5, 6, 7], maxTokens: 400, ignoreEos: true })
    stream.response.catch(() => undefined)
    try {
      for await (const _ of stream) process.umask(0o111)
    } catch (error) {
      console.log(error.code, engine.health().healthy)
    }
    await engine.close()
    console.log('closed')`
  const { stdout, stderr } = await run(process.execPath, ['--input-type=module', '-e', code], {
    env: { ...process.env, LD_PRELOAD: library },
    timeout: 60_000,
  })
  expect({ stdout, stderr }).toEqual({ stdout: 'ERR_DEVICE false\nclosed\n', stderr: '' })
})
