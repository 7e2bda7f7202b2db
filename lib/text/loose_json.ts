/**
 * JSON as models write it. Valid JSON is read by JSON.parse; anything else by a reader that mends what can only mean one thing:
 * code fences and words around it, single, curly and missing quotes, full-width punctuation, Python's literals, missing, doubled and
 * trailing commas, raw line ends and quotes inside strings, and brackets that are never closed. What was mended is named.
 */

/** What was mended; empty for valid JSON. */
export interface LooseJson {
  readonly value: unknown
  readonly repairs: readonly string[]
}

const maxDepth = 64
const closers: Readonly<Record<string, string>> = { '"': '"', "'": "'", '“': '”', '”': '”', '‘': '’', '’': '’', '`': '`' }
const punctuation: Readonly<Record<string, string>> = { '：': ':', '，': ',', '｛': '{', '｝': '}', '［': '[', '］': ']', '；': ',', ';': ',', '=': ':' }
const escapes: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', b: '\b', f: '\f' }
const words: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['true', true],
  ['false', false],
  ['null', null],
  ['none', null],
  ['undefined', null],
  ['nan', null],
])

/** @throws {SyntaxError} where no object or list can be made of the text, or it is nested more than 64 deep. */
export function parseLooseJson(text: string): LooseJson {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return new LooseReader(text).read()
  }
  if (nests(value, maxDepth)) throw tooDeep()
  return { value, repairs: [] }
}

/** Whether it has values more than `depth` deep in lists and objects. JSON.parse bounds nothing, and what comes behind it recurses. */
function nests(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return false
  return depth < 0 || Object.values(value).some((inner) => nests(inner, depth - 1))
}

function tooDeep(): SyntaxError {
  return new SyntaxError(`nested more than ${maxDepth} deep`)
}

class LooseReader {
  readonly #text: string
  readonly #repairs = new Set<string>()
  #at = 0

  constructor(text: string) {
    const fenced = /```(?:json|JSON)?\s*([\s\S]*?)(?:```|$)/.exec(text)
    this.#text = fenced?.[1] ?? text
    if (fenced !== null) this.#repairs.add('code fence')
  }

  read(): LooseJson {
    const start = this.#text.search(/[[{［｛]/)
    if (start < 0) throw new SyntaxError('expected a JSON list or object')
    if (this.#text.slice(0, start).trim() !== '') this.#repairs.add('words before')
    this.#at = start
    const value = this.#value(0)
    if (this.#text.slice(this.#at).trim() !== '') this.#repairs.add('words after')
    return { value, repairs: [...this.#repairs] }
  }

  /** The next character that is not white space, its ASCII form where it is full-width; '' at the end. */
  #peek(): string {
    while (/\s/.test(this.#text[this.#at] ?? '')) ++this.#at
    const character = this.#text[this.#at] ?? ''
    const plain = punctuation[character]
    if (plain !== undefined) this.#repairs.add('punctuation')
    return plain ?? character
  }

  #value(depth: number): unknown {
    if (depth > maxDepth) throw tooDeep()
    const next = this.#peek()
    if (next === '{') return this.#object(depth)
    if (next === '[') return this.#list(depth)
    if (next in closers) return this.#string(next)
    return this.#word()
  }

  #object(depth: number): Record<string, unknown> {
    const entries: [string, unknown][] = []
    ++this.#at
    for (let first = true; this.#more('}', first); first = false) {
      const next = this.#peek()
      const key = next in closers ? this.#string(next) : this.#bare(/[:：=,，}\s]/)
      if (key === '' && !(next in closers)) throw new SyntaxError(`expected a key at ${this.#at}`)
      if (!(next in closers)) this.#repairs.add('unquoted key')
      if (this.#peek() === ':') ++this.#at
      else this.#repairs.add('missing colon')
      const after = this.#peek()
      entries.push([key, after === '' || after === '}' || after === ',' ? this.#missing() : this.#value(depth + 1)])
    }
    return Object.fromEntries(entries)
  }

  #list(depth: number): unknown[] {
    const items: unknown[] = []
    ++this.#at
    for (let first = true; this.#more(']', first); first = false) {
      const before = this.#at
      items.push(this.#value(depth + 1))
      if (this.#at === before) throw new SyntaxError(`unexpected ${this.#text[before] ?? 'end'} at ${before}`)
    }
    return items
  }

  /** Whether another entry follows; takes commas and the closing bracket. */
  #more(close: string, first: boolean): boolean {
    for (let commas = 0; ; ++commas) {
      const next = this.#peek()
      if (next === '') {
        this.#repairs.add('unclosed')
        return false
      }
      if (next === close) {
        ++this.#at
        if (commas > 0) this.#repairs.add('commas')
        return false
      }
      if (next === '}' || next === ']') {
        // The other bracket: this one was never closed, and the outer one takes it.
        this.#repairs.add('unclosed')
        return false
      }
      if (next !== ',') {
        if (first === commas > 0) this.#repairs.add('commas')
        return true
      }
      if (commas > 0) this.#repairs.add('commas')
      ++this.#at
    }
  }

  #missing(): null {
    this.#repairs.add('missing value')
    return null
  }

  #string(open: string): string {
    const close = closers[open]!
    if (open !== '"') this.#repairs.add('quotes')
    let value = ''
    for (++this.#at; ; ++this.#at) {
      const character = this.#text[this.#at]
      if (character === undefined) {
        this.#repairs.add('unclosed')
        return value
      }
      if (character === '\\') value += this.#escape()
      else if (character !== close) value += character
      else if (this.#ends()) break
      else {
        this.#repairs.add('quote inside a string')
        value += character
      }
      if (character < ' ') this.#repairs.add('raw line end')
    }
    ++this.#at
    return value
  }

  /** Whether the quote here ends the string: what follows must be able to follow a string. */
  #ends(): boolean {
    const rest = this.#text.slice(this.#at + 1, this.#at + 200)
    return /^\s*(?:$|[,:}\]，：｝］])/.test(rest) || /^\s*["'“][\w$-]{1,64}["'”]\s*[:：]/.test(rest)
  }

  #escape(): string {
    const code = this.#text[++this.#at]
    if (code === undefined) return ''
    if (code === 'u') {
      const hex = this.#text.slice(this.#at + 1, this.#at + 5)
      if (/^[\da-f]{4}$/i.test(hex)) {
        this.#at += 4
        return String.fromCharCode(Number.parseInt(hex, 16))
      }
    }
    return escapes[code] ?? code
  }

  #bare(until: RegExp): string {
    const start = this.#at
    while (this.#at < this.#text.length && !until.test(this.#text[this.#at]!)) ++this.#at
    return this.#text.slice(start, this.#at).trim()
  }

  #word(): unknown {
    const word = this.#bare(/[,，}\]｝］\n]/)
    if (/^-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(word)) return Number(word)
    const known = word.toLowerCase()
    this.#repairs.add(words.has(known) ? 'literal' : 'unquoted text')
    return words.has(known) ? words.get(known) : word
  }
}
