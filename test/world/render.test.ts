import { parseOutput, stepsOf, systemPrompt, Transcript } from 'agentinfer'
import { describe, expect, test } from 'vitest'

import { instructions, systemText, worldPrompts } from '../../bench/research-world/format.js'
import { Random } from '../../bench/research-world/random.js'
import { renderRun } from '../../bench/research-world/render.js'
import type { Piece, RenderOptions } from '../../bench/research-world/render.js'
import { recordRun } from '../../bench/research-world/runs.js'
import type { RecordedRun } from '../../bench/research-world/runs.js'
import { makeTasks } from '../../bench/research-world/tasks.js'
import { worldTools } from '../../bench/research-world/tools.js'
import { ChatTemplate, openPanguTemplate } from '../../dist/esm/text/chat_template.js'

const tasks = makeTasks({ seed: 11, count: 12, hops: [0, 1, 1, 1, 1, 1] })
const runs = tasks.map(({ world, index, question }, i) =>
  recordRun(world, index, question, new Random(i), { useless: 0.1, slips: 0.1, filtered: 0.5 }),
)
const plain: RenderOptions = { progress: true, recall: false }

const mainLine = (pieces: readonly Piece[]): string =>
  pieces
    .filter(({ branch }) => branch === 0)
    .map(({ text }) => text)
    .join('')

/** What the runtime makes of the same run, with the model's turns as the run has them. */
function byRuntime(run: RecordedRun): string {
  const { search, open } = worldTools(tasks[0]!.world, tasks[0]!.index, { seed: 1 })
  const transcript = new Transcript({ suffix: '' })
  transcript.add({
    kind: 'system',
    text: systemPrompt({ instructions, tools: [search, open], progress: true, prompts: worldPrompts }),
  })
  transcript.add({ kind: 'query', text: run.question.text, by: 'user' })
  const written = renderRun(run, plain)
    .filter(({ branch }) => branch === 0)
    .map(({ text }) => text)
    .join('')
    .split('[unused9]助手：')
    .slice(1)
    .map((text) => text.slice(0, text.indexOf('[unused10]')))
  run.turns.forEach((turn, i) => {
    for (const step of stepsOf(parseOutput(written[i]!), i, 'small')) transcript.add(step)
    if (turn.call === undefined) return
    transcript.add({
      kind: 'observation',
      turn: i,
      call: `c${i}`,
      tool: turn.call.name,
      text: turn.observation,
      ref: undefined,
      ok: true,
    })
  })
  const template = new ChatTemplate(openPanguTemplate)
  return template
    .render(
      transcript.messages.map(({ role, content }) => ({ role, content })),
      { addGenerationPrompt: false },
    )
    .map(({ text }) => text)
    .join('')
}

describe('training text', () => {
  test('is what the runtime shows a model, to the character', () => {
    for (const run of runs) expect(mainLine(renderRun(run, plain))).toBe(`<s>${byRuntime(run)}`)
  })

  test('has the system turn that the runtime makes of tools and prompts', () => {
    const { search, open } = worldTools(tasks[0]!.world, tasks[0]!.index, { seed: 1 })
    const recall = { name: 'recall', description: '', schema: { required: ['id'] } }
    const made = (tools: Parameters<typeof systemPrompt>[0]['tools'], progress: boolean) =>
      systemPrompt({ instructions, tools, progress, prompts: worldPrompts })
    expect(systemText(['search', 'open'], true)).toBe(made([search, open], true))
    expect(systemText(['search', 'open', 'recall'], false)).toBe(made([search, open, recall], false))
  })

  test('asks about progress after every turn with a call, beside the main line, in words that do not tell the verdict', () => {
    for (const run of runs) {
      const pieces = renderRun(run, plain)
      const verdicts = pieces.filter(({ kind }) => kind === 'verdict')
      expect(verdicts.map(({ text }) => text)).toEqual(
        run.turns.flatMap(({ call, progress }) => (call === undefined ? [] : [progress ? ' TRUE ' : ' FALSE '])),
      )
      expect(new Set(verdicts.map(({ branch }) => branch)).size).toBe(verdicts.length)
      for (const { text } of pieces.filter(({ kind }) => kind === 'reason'))
        expect(text).toMatch(/^ Sought the \w+ of \w+\. $|^<\/reason>\n<value>$/)
    }
  })

  test('puts a memory where the runtime does, and teaches only what comes behind it', () => {
    const { world, index, question } = tasks.find(({ calls }) => calls >= 8)!
    const run = recordRun(world, index, question, new Random(1), { useless: 0, slips: 0, filtered: 0 })
    const distilled = renderRun(run, { ...plain, distilled: { at: 5, keepRecent: 2 } })
    const text = mainLine(distilled)
    const gone = run.turns.slice(0, 4)
    for (const { observation } of gone) if (observation.includes(' | ')) expect(text).not.toContain(observation)
    const lastGone = text.indexOf('[unused9]助手：===MEMORY===\n')
    expect(text.slice(0, lastGone).split('[unused9]助手：').length - 1).toBe(4)
    expect(text.slice(lastGone)).toContain('\n===END_MEMORY===[unused10][unused9]助手：[unused16]')
    expect(distilled.filter(({ kind }) => kind === 'think').length).toBe(
      run.turns.slice(6).filter(({ spoilt }) => !spoilt).length,
    )
    const asked = renderRun(run, { ...plain, distil: { at: 5, keepRecent: 2 } }).find(({ kind }) => kind === 'memory')!
    expect(text).toContain(`===MEMORY===\n${asked.text}\n===END_MEMORY===`)
  })

  test('gives spoilt turns to be read, never to be learnt', () => {
    for (const run of runs) {
      const learnt = renderRun(run, plain).filter(({ kind }) => kind === 'think').length
      expect(learnt).toBe(run.turns.filter(({ spoilt }) => !spoilt).length)
    }
  })
})
