import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'

import { expect, test } from 'vitest'

import { Engine } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

test('what onProgress throws ends the opening, and reaches whoever waits for it', async () => {
  const opening = Engine.open({
    model: checkpoint('pangu'),
    onProgress() {
      throw new Error('the window is closed')
    },
  })
  await expect(opening).rejects.toThrow('the window is closed')
})

test('a folder that is not there is said to be that, whatever else is missed in it', async () => {
  await expect(Engine.open({ model: '/no/such/folder' })).rejects.toMatchObject({ code: 'ERR_IO', message: expect.stringMatching(/^expected the folder of a checkpoint, got \/no\/such\/folder: ENOENT/) as string })
})

test('a folder whose chat template cannot be read fails for that', async () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'agentinfer-open-'))
  try {
    cpSync(checkpoint('pangu'), folder, { recursive: true })
    writeFileSync(path.join(folder, 'chat_template.jinja'), '{% for %}')
    const opening = Engine.open({ model: folder })
    await expect(opening).rejects.toMatchObject({ code: 'ERR_CHAT_TEMPLATE' })
  } finally {
    rmSync(folder, { recursive: true })
  }
})
