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

test('a page whose fetch throws at once, or is no promise, is as others are', async () => {
  const open = (({ url = '' }) => {
    if (url === 'a') throw 'no such host'
    return `text of ${url}`
  }) as unknown as SearchToolOptions['open']
  const { tool } = toolOf({ open: open!, search: () => results.slice(0, 2) })
  const found = (await ask(tool, new AbortController().signal)) as { url: string; text: string }[]
  expect(Object.fromEntries(found.map(({ url, text }) => [url, text]))).toEqual({ a: 'Error: no such host', b: 'text of b' })
})
