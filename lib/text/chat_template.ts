/**
 * From chat messages to the text a model expects, and which parts of that text may hold special markers.
 *
 * What a template writes is trusted: its markers become special ids. What a message says is trusted by the role of the message: by
 * default `system`, `developer` and `assistant` are (prompts of agents quote markers, and a model's earlier turns hold its own),
 * `user`, `tool` and every other role are not, so that nobody can end a turn or forge a tool result by writing its marker.
 *
 * How the parts are told apart: the template is rendered twice, once with the real texts and once with the untrusted ones in
 * disguise (taint.ts). Where undoing the disguise does not give the real rendering even for the finest disguise, the template
 * changes message texts in a way that cannot be followed; that is ERR_CHAT_TEMPLATE, never a guess.
 */
import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { AgentInferError } from '../errors.js'
import type { TextSegment } from '../native.js'
import { defaultJinjaLimits, Jinja } from './jinja.js'
import type { JinjaLimits } from './jinja.js'
import { writesEachMessageByItself } from './local_template.js'
import { freePlane, singleCharacters, wholeTexts } from './taint.js'
import type { Disguise, Part } from './taint.js'

export interface ChatMessage {
  readonly role: string
  readonly content?: unknown
  readonly [key: string]: unknown
}

export interface RenderOptions {
  /** End with the beginning of an assistant turn. Default true. */
  readonly addGenerationPrompt?: boolean
  /** Per role: whether markers in its messages become special ids. Roles not named keep the default. */
  readonly parseSpecial?: Readonly<Record<string, boolean>>
  /** Further variables for the template, such as `tools` or `enable_thinking`. Trusted. */
  readonly variables?: Readonly<Record<string, unknown>>
}

/** Whether markers in messages of a role become special ids, unless the caller says otherwise. Other roles: false. */
const defaultParseSpecial: Readonly<Record<string, boolean>> = {
  system: true,
  developer: true,
  assistant: true,
  user: false,
  tool: false,
}

/**
 * openPangu's format: each turn is [unused9], the role's name, a full-width colon, the content and [unused10]; without a system
 * message an empty system turn comes first.
 */
export const openPanguTemplate = `
{%- set names = {'system': '系统', 'user': '用户', 'assistant': '助手', 'tool': '工具', 'function': '方法'} %}
{%- if messages[0]['role'] != 'system' %}{{ '[unused9]系统：[unused10]' }}{% endif %}
{%- for message in messages %}
{%- if message['role'] not in names %}{{ raise_exception('role ' + message['role'] + ' is not one of openPangu\\'s') }}{% endif %}
{{- '[unused9]' + names[message['role']] + '：' + message['content'] + '[unused10]' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '[unused9]助手：' }}{% endif %}`

/** The template's own texts around a message's content, and before an answer. */
export interface MessageAffixes {
  /** The content stands between them. */
  readonly parts: readonly string[]
  readonly prompt: string
}

/** No text contains it. */
const probe = 'probe 2d1f5c7e-9d0b-4c55-8a6f-6c1f7a1d3b42 '

export function trustedByDefault(role: string): boolean {
  return Object.hasOwn(defaultParseSpecial, role) && defaultParseSpecial[role] === true
}

function textOf(parts: readonly TextSegment[]): string {
  return parts.map(({ text }) => text).join('')
}

export class ChatTemplate {
  readonly #jinja: Jinja
  #local: boolean | undefined
  readonly #affixes = new Map<string, MessageAffixes>()
  readonly #tokens: Readonly<Record<string, string>>
  /** The template's own text, for characters that a disguise must not use. */
  readonly #source: string

  /**
   * `tokens`: variables such as `bos_token`, from tokenizer_config.json. Throws ERR_CHAT_TEMPLATE when the template is too long
   * or not valid.
   */
  constructor(source: string, tokens: Readonly<Record<string, string>> = {}, limits: JinjaLimits = defaultJinjaLimits) {
    this.#source = source
    this.#tokens = tokens
    this.#jinja = attempt('the chat template cannot be read', () => new Jinja(source, limits))
  }

  /**
   * What a message adds to a chat whose first message has the role `first`, and what begins an answer behind it, where the template
   * writes each message by itself (see local_template.ts); undefined where it does not, refuses the role, or a role is more than a name: such
   * a text is not the template's own.
   */
  affixes(first: string, role: string): MessageAffixes | undefined {
    if (!plainName.test(first) || !plainName.test(role)) return undefined
    if (!(this.#local ??= writesEachMessageByItself(this.#jinja.program))) return undefined
    const key = JSON.stringify([first, role])
    const known = this.#affixes.get(key)
    if (known !== undefined) return known
    const text = (count: number, addGenerationPrompt: boolean): string => {
      const messages = [{ role: first, content: '' }, ...Array.from({ length: count }, (_, i) => ({ role, content: probe + String(i) }))]
      return textOf(this.render(messages, { addGenerationPrompt, parseSpecial: { [first]: true, [role]: true } }))
    }
    try {
      const [one, two, asked] = [text(1, false), text(2, false), text(1, true)]
      if (!two.startsWith(one) || !asked.startsWith(one)) return undefined
      const affixes = { parts: two.slice(one.length).split(`${probe}1`), prompt: asked.slice(one.length) }
      this.#affixes.set(key, affixes)
      return affixes
    } catch {
      return undefined // rendering the chat itself says why
    }
  }

  /** The chat as text, in parts by whether their markers count. Throws ERR_CHAT_TEMPLATE. */
  render(messages: readonly ChatMessage[], options: RenderOptions = {}): TextSegment[] {
    const now = new Date()
    const { parseSpecial = {} } = options
    const trusted = ({ role }: ChatMessage) => (Object.hasOwn(parseSpecial, role) ? parseSpecial[role] === true : trustedByDefault(role))
    const run = (shown: readonly unknown[], disguise?: Disguise) =>
      this.#jinja.render(
        {
          ...this.#tokens,
          ...options.variables,
          messages: shown,
          add_generation_prompt: options.addGenerationPrompt ?? true,
        },
        now,
        disguise,
      )
    const real = attempt('the chat template failed', () => run(messages))
    if (messages.every(trusted)) return segments([{ text: real, trusted: true }])
    const plane = freePlane([this.#source, ...textsOf([this.#tokens, options.variables, messages.filter(trusted)])])
    for (const make of plane === undefined ? [] : [wholeTexts, singleCharacters]) {
      const disguise = make(plane as number)
      const parts = followed(real, disguise, () =>
        run(messages.map((message) => (trusted(message) ? message : hideMessage(message, disguise))), disguise),
      )
      if (parts) return segments(parts)
    }
    const roles = [...new Set(messages.filter((message) => !trusted(message)).map((message) => message.role))].join(', ')
    throw new AgentInferError(
      'ERR_CHAT_TEMPLATE',
      `the chat template changes the texts of messages in a way that hides what came from them (roles: ${roles}), so their ` +
        'markers cannot be told from its own: allow these roles in parseSpecial, or use a template that prints their texts as they are',
    )
  }
}

/** The parts of the disguised rendering, if they join to the real one. */
function followed(real: string, disguise: Disguise, render: () => string): Part[] | undefined {
  let rendered: string
  try {
    rendered = render()
  } catch {
    return undefined // it worked with the real texts, so the disguise led it elsewhere
  }
  const parts = disguise.reveal(rendered)
  return parts.map((part) => part.text).join('') === real ? parts : undefined
}

function segments(parts: readonly Part[]): TextSegment[] {
  return parts.filter((part) => part.text !== '').map((part) => ({ text: part.text, special: part.trusted }))
}

/** Roles and keys that can hold no marker. */
const plainName = /^[\w.$-]{1,64}$/

/** Every text of the message in disguise, keys too where they are more than a name. A role that is a plain word is left. */
function hideMessage(message: ChatMessage, disguise: Disguise): unknown {
  const hide = (value: unknown): unknown => {
    if (typeof value === 'string') return disguise.hide(value)
    if (Array.isArray(value)) return value.map(hide)
    if (typeof value !== 'object' || value === null) return value
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [plainName.test(key) ? key : disguise.hide(key), hide(item)]))
  }
  return { ...(hide(message) as object), role: plainName.test(message.role) ? message.role : disguise.hide(message.role) }
}

function* textsOf(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value
  else if (Array.isArray(value)) for (const item of value) yield* textsOf(item)
  else if (typeof value === 'object' && value !== null)
    for (const [key, item] of Object.entries(value)) {
      yield key
      yield* textsOf(item)
    }
}

function attempt<T>(what: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw new AgentInferError('ERR_CHAT_TEMPLATE', `${what}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    })
  }
}

/** Templates that requests bring, parsed once and kept while they are in use. */
const keptTemplates = 32

export interface LoadedChatTemplate {
  /** The folder's own, or the built-in one of its architecture; undefined when there is neither. */
  readonly own: ChatTemplate | undefined
  /** One that a request brings, with the folder's special tokens as variables. */
  readonly make: (source: string) => ChatTemplate
}

/** Reads chat_template.jinja or the `chat_template` of tokenizer_config.json. Throws ERR_CHAT_TEMPLATE, ERR_MODEL_INVALID, or ERR_IO where there is no folder. */
export async function loadChatTemplate(folder: string): Promise<LoadedChatTemplate> {
  await access(folder).catch((cause: unknown) => {
    throw new AgentInferError('ERR_IO', `expected the folder of a checkpoint, got ${folder}: ${(cause as Error).message}`, { cause })
  })
  const [file, configText, modelText] = await Promise.all(
    ['chat_template.jinja', 'tokenizer_config.json', 'config.json'].map((name) => readIfThere(join(folder, name))),
  )
  const config = parseObject(configText, 'tokenizer_config.json')
  const tokens = specialTokens(config)
  const source = file ?? templateOf(config['chat_template']) ?? builtInTemplate(parseObject(modelText, 'config.json'))
  const cache = new Map<string, ChatTemplate>()
  return {
    own: source === undefined ? undefined : new ChatTemplate(source, tokens),
    make(text) {
      const template = cache.get(text) ?? new ChatTemplate(text, tokens)
      cache.delete(text)
      cache.set(text, template)
      for (const oldest of cache.keys()) {
        if (cache.size <= keptTemplates) break
        cache.delete(oldest)
      }
      return template
    },
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new AgentInferError('ERR_IO', `${path}: ${(error as Error).message}`, { cause: error })
  }
}

function parseObject(text: string | undefined, name: string): Record<string, unknown> {
  if (text === undefined) return {}
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  } catch (error) {
    throw new AgentInferError('ERR_MODEL_INVALID', `${name}: ${(error as Error).message}`, { cause: error })
  }
  throw new AgentInferError('ERR_MODEL_INVALID', `${name}: expected an object`)
}

/** `bos_token` and the like: strings, or objects with `content`. */
function specialTokens(config: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {}
  for (const [key, value] of Object.entries(config)) {
    if (!/^(bos|eos|unk|pad|sep|cls|mask)_token$/.test(key)) continue
    const content: unknown = typeof value === 'object' && value !== null ? (value as { content?: unknown }).content : value
    if (typeof content === 'string') tokens[key] = content
  }
  return tokens
}

/** A string, or a list of named templates of which `default` is taken. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (value === undefined || value === null) return undefined
  if (Array.isArray(value)) {
    const found = (value as { name?: unknown; template?: unknown }[]).find((entry) => entry.name === 'default') ?? value[0]
    if (typeof found?.template === 'string') return found.template
  }
  throw new AgentInferError('ERR_MODEL_INVALID', 'tokenizer_config.json: chat_template: expected a string or a list of templates')
}

function builtInTemplate(config: Record<string, unknown>): string | undefined {
  const architectures = config['architectures']
  return Array.isArray(architectures) && architectures.includes('PanguEmbeddedForCausalLM') ? openPanguTemplate : undefined
}

/** The ids with exactly one BOS in front (templates may write it or not, or more than once); as they are where there is no BOS. */
export function ensureSingleBos(ids: Int32Array, bosId: number | null | undefined): Int32Array {
  if (bosId === null || bosId === undefined) return ids
  let leading = 0
  while (ids[leading] === bosId) ++leading
  if (leading > 0) return ids.subarray(leading - 1)
  const result = new Int32Array(ids.length + 1)
  result[0] = bosId
  result.set(ids, 1)
  return result
}
