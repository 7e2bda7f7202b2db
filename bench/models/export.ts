/**
 * Training data: node dist/bench/models/export.js --split train --first-seed 1 --worlds 100 --out runs.jsonl
 *
 * A line per run: {"seed", "hops" (0: a planner, or reading practice), "turns", "pieces": [[text, special, kind, branch], ...]} with kinds as indices
 * into pieceKinds. Worlds with seeds first-seed, first-seed + 1, ...; the same options give the same file.
 */
import { closeSync, openSync, writeSync } from 'node:fs'
import { parseArgs } from 'node:util'

import { callsNeeded } from '../research-world/oracle.js'
import { joinQuestions, makeQuestion } from '../research-world/questions.js'
import { Random } from '../research-world/random.js'
import { pieceKinds, renderDrill, renderPlan, renderRun } from '../research-world/render.js'
import { answerCall, defaultRun, recordRun } from '../research-world/runs.js'
import { SearchIndex } from '../research-world/search.js'
import { World } from '../research-world/world.js'
import type { Piece } from '../research-world/render.js'
import type { Split } from '../research-world/names.js'

const { values } = parseArgs({
  options: {
    split: { type: 'string', default: 'train' },
    'first-seed': { type: 'string', default: '1' },
    worlds: { type: 'string', default: '10' },
    questions: { type: 'string', default: '12' },
    /** Relative frequencies of 1, 2, ... hops. */
    hops: { type: 'string', default: '0.2,0.22,0.2,0.16,0.12,0.1' },
    /** Facts that are not where one would look: more than in what is measured, so that it is learnt. */
    elsewhere: { type: 'string', default: '0.12' },
    useless: { type: 'string', default: '0.08' },
    slips: { type: 'string', default: '0.04' },
    /**
     * Shares of the runs: with PROGRESS questions; with a recall tool; with a distillation and what follows it. And planners'
     * runs.
     */
    progress: { type: 'string', default: '0.6' },
    recall: { type: 'string', default: '0.5' },
    plans: { type: 'string', default: '0.08' },
    distil: { type: 'string', default: '0.25' },
    /** Rows of reading practice per world; with `--questions 0` nothing else. */
    drills: { type: 'string', default: '0' },
    out: { type: 'string' },
  },
})
if (values.out === undefined) throw new Error('--out: expected a file name, got nothing')
function write(seed: number, hops: number, turns: number, pieces: readonly Piece[]): void {
  const rows = pieces.map(({ text, special, kind, branch }) => [text, special ? 1 : 0, pieceKinds.indexOf(kind), branch])
  writeSync(file, `${JSON.stringify({ seed, hops, turns, pieces: rows })}\n`)
}

const weights = values.hops.split(',').map(Number)
const file = openSync(values.out, 'w')
for (let seed = Number(values['first-seed']); seed < Number(values['first-seed']) + Number(values.worlds); ++seed) {
  const world = new World({ seed, split: values.split as Split, elsewhere: Number(values.elsewhere) })
  const index = new SearchIndex(world)
  const random = new Random(`runs ${seed}`)
  const drilling = new Random(`drills ${seed}`)
  for (let i = 0; i < Number(values.drills); ++i) write(seed, 0, 0, renderDrill(world, index, drilling))
  for (let i = 0; i < Number(values.questions);) {
    const question = makeQuestion(world, random, weights)
    if (callsNeeded(index, question, (call) => answerCall(world, index, call)) === undefined) continue
    ++i
    const run = recordRun(world, index, question, random, {
      ...defaultRun,
      useless: Number(values.useless),
      slips: Number(values.slips),
    })
    const common = { progress: random.chance(Number(values.progress)), recall: random.chance(Number(values.recall)) }
    const calls = run.turns.length - 1
    const swap =
      random.chance(Number(values.distil)) && calls >= 5 ? { at: 4 + random.below(calls - 4), keepRecent: 2 } : undefined
    const hops = question.chain.length
    write(seed, hops, run.turns.length, renderRun(run, { ...common, distil: swap }))
    if (swap !== undefined) write(seed, hops, run.turns.length, renderRun(run, { ...common, distilled: swap }))
    if (!random.chance(Number(values.plans))) continue
    const parts = Array.from({ length: 2 + random.below(3) }, () => makeQuestion(world, random, weights))
    write(seed, 0, 2, renderPlan(joinQuestions(parts), { recall: random.chance(0.5) }))
  }
}
closeSync(file)
