/** The tool that gives back what was cut, left out or distilled away, exactly as it was. */
import { z } from 'zod'

import { cutText, interest } from '../policy/observe.js'
import type { Archive } from './archive.js'
import { defineTool } from './tools.js'
import type { Tool } from './tools.js'

export const recallName = 'recall'

/** `characters`: of one reply. */
export function recallTool(archive: Archive, characters: number): Tool {
  return defineTool({
    name: recallName,
    description: 'Gives back a stored result in full. Use it when a result was cut, or removed from the conversation.',
    verbatim: true,
    parameters: z.object({
      id: z.string().describe('id of the result, such as o3'),
      find: z.string().optional().describe('what to look for in a long result'),
      from: z.int().min(0).optional().describe('character to begin at'),
    }),
    run: ({ id, find, from = 0 }) => {
      const stored = archive.get(id)
      if (stored === undefined) {
        const known = archive.size === 0 ? 'nothing is stored yet' : `expected one of o1 to o${archive.size}`
        throw new Error(`there is no stored result "${id}": ${known}`)
      }
      if (stored.text.length <= characters) return stored.text
      if (find !== undefined) return cutText(stored.text, interest(find), characters).text
      const end = Math.min(stored.text.length, from + characters)
      const more = end < stored.text.length ? `\n(characters ${from} to ${end} of ${stored.text.length}; go on with from: ${end})` : ''
      return stored.text.slice(from, end) + more
    },
  })
}
