/** Options that there are not, or that cannot be, are refused by name: with the default in their place a run would be a puzzle. */
import { describe, expect, test } from 'vitest'
import { z } from 'zod'

import { Agent, deepResearch, defineTool, measureLimits, modelScorer, searchTool } from 'agentinfer'
import type { RunOptions, SearchToolOptions } from 'agentinfer'

import { ScriptedEngine } from './scripted_engine.js'

const small = new ScriptedEngine(() => 'done')
const agent = (more: object) => new Agent({ models: { small }, ...more })

describe('an agent', () => {
  test.each<[object, string]>([
    [{ compress: { histroy: false } }, 'unknown option compress.histroy: expected some of observations, history, recall'],
    [{ compress: { recall: 'never' } }, 'compress.recall: expected told or listed, got "never"'],
    [{ compress: { history: { threshhold: 1 } } }, 'unknown option compress.history.threshhold'],
    [{ compress: { history: 'always' } }, `compress.history: expected 'gate', 'paper', a function, or an object with these as its rule, got "always"`],
    [{ compress: { history: { rule: 'always' } } }, 'got "always"'],
    [{ compress: { observations: { chars: 10 } } }, 'unknown option compress.observations.chars'],
    [{ compress: { observations: { characters: Number.NaN } } }, 'compress.observations.characters: expected a number above 0, got NaN'],
    [{ compress: { observations: { rank: { minimum: 1 } } } }, 'unknown option compress.observations.rank.minimum'],
    [{ compress: { observations: { rank: { max: '4' } } } }, 'compress.observations.rank.max: expected a number of at least 0, got "4"'],
    [{ compress: { history: { keepRecent: Number.NaN } } }, 'compress.history.keepRecent: expected a number of at least 0, got NaN'],
    [{ compress: { history: { lambda: 0.5 } } }, 'compress.history.lambda: expected a function, got 0.5'],
    [{ compress: { history: { handover: 1 } } }, 'compress.history.handover: expected a boolean, got 1'],
    [{ collab: { planSteps: -1 } }, 'collab.planSteps: expected a number of at least 0, got -1'],
    [{ collab: { up: 1.5 } }, 'collab.up: expected a probability, 0 to 1, got 1.5'],
    [{ collab: { sensor: { sticky: 1 } } }, 'unknown option collab.sensor.sticky'],
    [{ collab: { reasonTokens: -1 } }, 'collab.reasonTokens: expected an integer of at least 0, got -1'],
    [{ collab: { warmFrom: Number.NaN } }, 'collab.warmFrom: expected a probability or false, got NaN'],
    [{ sampling: { temprature: 1 } }, 'Agent: sampling: Unrecognized key: "temprature"'],
    [{ prompts: { nugde: 'go on' } }, 'unknown option prompts.nugde'],
  ])('%j', (more, message) => {
    expect(() => agent(more)).toThrow(message)
  })

  test('what can be is taken', () => {
    const lambda = () => 0.5
    expect(() => agent({ compress: { history: { rule: 'paper', lambda }, observations: { rank: { max: 4 } } }, sampling: { seed: 1 } })).not.toThrow()
  })

  test('a tool of its own called recall only where nothing is left out', () => {
    const recall = defineTool({ name: 'recall', description: 'remembers', parameters: z.object({}), run: () => 'nothing' })
    expect(() => agent({ tools: [recall] })).toThrow('a tool is called "recall", as the one that gives back what was left out')
    expect(() => agent({ tools: [recall], compress: { observations: false, history: false } })).not.toThrow()
    expect(() => agent({ tools: [recall], compress: false })).not.toThrow()
  })

  test('a run, a tool made of it, and a group', () => {
    const one = agent({})
    expect(() => one.run('?', { singal: new AbortController().signal } as RunOptions)).toThrow('agent.run: unknown option singal')
    expect(() => one.run(undefined as never)).toThrow('agent.run: expected a question, a string, got undefined')
    for (const record of [undefined, {}, { version: 2 }, { version: 1, transcript: {} }])
      expect(() => one.resume(record as never)).toThrow('agent.resume: expected what run.save() gives, of version 1, got')
    expect(() => one.asTool({ description: 'helps', includes: ['search'] } as never)).toThrow('asTool: unknown option includes')
    expect(() => deepResearch({ models: { small }, tools: [], colab: false } as never)).toThrow('unknown option colab')
  })
})

describe('tools', () => {
  const whole = { name: 'look', description: 'looks', parameters: z.object({}), run: () => 'seen' }
  test.each<[object, string]>([
    [{ retires: 3 }, 'defineTool: Unrecognized key: "retires"'],
    [{ parameters: { type: 'object' } }, 'parameters: expected z.object({ … }) of zod 4'],
    [{ run: 'look' }, 'run: expected a function'],
    [{ timeout: 1e9 }, 'timeout: Too big: expected number to be <=2147483, got 1000000000'],
  ])('%j', (more, message) => {
    expect(() => defineTool({ ...whole, ...more })).toThrow(message)
  })

  test('of search, and its scorer', () => {
    expect(() => searchTool({ search: () => [], limit: 3 } as SearchToolOptions)).toThrow('searchTool: unknown option limit')
    expect(() => searchTool({ search: () => [], top: -1 })).toThrow('searchTool: top: expected an integer of at least 0, got -1')
    expect(() => searchTool({} as SearchToolOptions)).toThrow('searchTool: search: expected a function, got undefined')
    expect(() => modelScorer(small, { minimum: 0.2 } as object)).toThrow('modelScorer: unknown option minimum')
  })
})

test('limits', async () => {
  await expect(measureLimits({ thread: 1 } as object)).rejects.toThrow('measureLimits: unknown option thread')
})
