/** A search whose run has ended: nothing is fetched for nobody, and a scorer that breaks changes nothing. */
import { expect, test } from 'vitest'

import { searchTool } from 'agentinfer'
import type { SearchToolOptions } from 'agentinfer'

const results = ['a', 'b', 'c'].map((url) => ({ url, title: `page ${url}` }))

function toolOf(more: Partial<SearchToolOptions> = {}) {
  const opened: string[] = []
  const open: SearchToolOptions['open'] = async ({ url = '' }) => {
    opened.push(url)
    return `text of ${url}`
  }
  return { opened, tool: searchTool({ search: () => results, open, top: 2, ...more }) }
}

const ask = (tool: ReturnType<typeof searchTool>, signal: AbortSignal): Promise<unknown> => tool.invoke({ query: 'page' }, { signal, callId: 'c1.1' })

test.each<[string, (abort: () => void) => Partial<SearchToolOptions>]>([
  ['while it searches', (abort) => ({ search: async () => (abort(), results) })],
  ['while results are scored', (abort) => ({ open: undefined as never, scorer: async () => (abort(), [1, 1, 1]) })],
])('aborted %s', async (_, when) => {
  const controller = new AbortController()
  const { tool, opened } = toolOf(when(() => controller.abort(new Error('enough'))))
  await expect(ask(tool, controller.signal)).rejects.toThrow('enough')
  expect(opened).toEqual([])
})

test('a scorer that throws at once is as one that fails later', async () => {
  const scorer = (): never => {
    throw new Error('no scores today')
  }
  const { tool, opened } = toolOf({ scorer })
  expect(await ask(tool, new AbortController().signal)).toHaveLength(3)
  expect(opened).toHaveLength(2)
})
