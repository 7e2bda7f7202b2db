/** A ready group of agents in the shape of DeepDiver-V2: a planner sends out information seekers, and a writer makes the report. */
import { Agent } from './agent.js'
import type { Limits } from './budget.js'
import type { AgentOptions } from './options.js'
import type { Tool } from './tools.js'

/** What an agent of the group does. */
export type ResearchRole = 'planner' | 'seeker' | 'writer'

/** Instructions and limits of each role, to read or to change through `roles`. */
export const researchRoles: Readonly<Record<ResearchRole, Required<Pick<AgentOptions, 'instructions' | 'limits'>>>> = {
  planner: {
    instructions:
      'You plan research. Split the question into sub-tasks that can be worked on independently, and give each to a seeker; several calls in ' +
      'one list run at the same time. Seekers see only the task you write, so put names, dates and what counts as an answer into it. Judge ' +
      'what comes back, send out further seekers for what is missing or doubtful, and when it is enough, let the writer answer.',
    limits: { turns: 40 },
  },
  seeker: {
    instructions:
      'You find information. Search, open the pages that look best, and follow what they say until the task is answered. Do not repeat a ' +
      'search that brought nothing; change its words. Answer with the facts, their sources, and what remained open.',
    limits: { turns: 30 },
  },
  writer: {
    instructions:
      'You write the final answer from the findings given with the task, and from nothing else. Begin with the answer itself; then, where the ' +
      'task asks for a report, the reasons with their sources. Say what is uncertain.',
    limits: { turns: 4 },
  },
}

/** Options of `deepResearch`. */
export interface DeepResearchOptions extends Omit<AgentOptions, 'tools' | 'instructions' | 'name'> {
  /** Of the seekers: search, open, … */
  readonly tools: readonly Tool[]
  /** What the roles do differently from each other and from the options above, such as `models` or `collab`. Default: nothing. */
  readonly roles?: Partial<Record<ResearchRole, Partial<AgentOptions>>>
}

/** The planner, with the others as its tools `seek` and `write`. Its limits of tokens and seconds are those of the whole group. */
export function deepResearch(options: DeepResearchOptions): Agent {
  const { tools, roles = {}, limits, ...common } = options
  const make = (role: ResearchRole, own: readonly Tool[], more: Partial<Limits> = {}): Agent => {
    const preset = researchRoles[role]
    const given = roles[role] ?? {}
    return new Agent({
      ...common,
      name: role,
      instructions: preset.instructions,
      ...given,
      tools: [...own, ...(given.tools ?? [])],
      limits: { ...preset.limits, ...more, ...given.limits },
    })
  }
  const seek = make('seeker', tools).asTool({ name: 'seek', description: 'sends out an information seeker' })
  const write = make('writer', []).asTool({
    name: 'write',
    description: 'has the writer answer the question from everything the seekers have found; ends the work',
    include: ['seek'],
    final: true,
  })
  return make('planner', [seek, write], limits)
}
