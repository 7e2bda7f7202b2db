/**
 * Tells, in a rendered chat, which characters came from where. Texts that are not trusted are given to the template in disguise
 * (as characters of a private-use plane), so that they can be recognised in what comes out. Two disguises:
 *
 * - `wholeTexts`: a text is one character, with the text's own white space left around it. Costs nothing, and survives what
 *   most templates do (print it, trim it). For as many texts as there are characters.
 * - `singleCharacters`: every UTF-16 unit is a character of its own, but for white space, quotes, backslashes and controls, which
 *   escaping and trimming look at. Survives splitting, slicing at separators and JSON.
 *
 * A disguise is accepted only if undoing it gives, character by character, what the template renders from the real texts.
 */
import { endianness } from 'node:os'
import type { TextView } from './jinja.js'

export interface Part {
  readonly text: string
  readonly trusted: boolean
}

export interface Disguise extends TextView {
  /** @throws where it can hide no more. */
  hide(text: string): string
  /** The rendered text, real again and cut by origin. */
  reveal(rendered: string): Part[]
}

/** A plane of which no character occurs in `texts`: its first code point; undefined when both are in use. */
export function freePlane(texts: Iterable<string>): number | undefined {
  let taken = 0
  for (const text of texts) {
    if (/[\u{F0000}-\u{FFFFF}]/u.test(text)) taken |= 1
    if (/[\u{100000}-\u{10FFFF}]/u.test(text)) taken |= 2
  }
  return (taken & 2) === 0 ? 0x100000 : (taken & 1) === 0 ? 0xf0000 : undefined
}

const planePattern = (plane: number) =>
  plane === 0x100000 ? /[\u{100000}-\u{10FFFF}]/gu : /[\u{F0000}-\u{FFFFF}]/gu

export function wholeTexts(plane: number): Disguise {
  const texts: string[] = []
  const pattern = planePattern(plane)
  const textOf = (character: string) => texts[(character.codePointAt(0) ?? 0) - plane]
  const real = (text: string) => text.replaceAll(pattern, (character) => textOf(character) ?? character)
  return {
    real,
    alike: (text) => text,
    hide(text) {
      const core = text.trim()
      if (core === '') return text
      if (texts.length >= 0xfffe) throw new Error('no character is left')
      texts.push(core)
      const start = text.indexOf(core)
      return text.slice(0, start) + String.fromCodePoint(plane + texts.length - 1) + text.slice(start + core.length)
    },
    reveal(rendered) {
      const parts: Part[] = []
      let end = 0
      for (const match of rendered.matchAll(pattern)) {
        parts.push({ text: rendered.slice(end, match.index), trusted: true })
        parts.push({ text: textOf(match[0]) ?? match[0], trusted: false })
        end = match.index + match[0].length
      }
      parts.push({ text: rendered.slice(end), trusted: true })
      return joined(parts)
    },
  }
}

/** Units that stay visible: what trimming and escaping look at. A surrogate counts when it has no partner. */
function staysVisible(unit: number): boolean {
  if (unit < 0x80) return unit <= 0x20 || unit === 0x22 || unit === 0x5c || unit === 0x7f
  if (unit < 0x1680) return unit === 0x85 || unit === 0xa0
  if (unit < 0x3001) return unit === 0x1680 || (unit >= 0x2000 && unit <= 0x200a) || otherSpaces.has(unit)
  return (unit >= 0xd800 && unit < 0xe000) || unit === 0xfeff
}
const otherSpaces = new Set([0x2028, 0x2029, 0x202f, 0x205f, 0x3000])

function onlyVisible(text: string): boolean {
  for (let i = 0; i < text.length; ++i) if (!staysVisible(text.charCodeAt(i))) return false
  return true
}

export function singleCharacters(plane: number): Disguise {
  const pattern = planePattern(plane)
  const hide = (text: string) => {
    const units = new Uint16Array(text.length * 2)
    let length = 0
    const put = (unit: number) => {
      const offset = plane + unit - 0x10000
      units[length++] = 0xd800 + (offset >> 10)
      units[length++] = 0xdc00 + (offset & 0x3ff)
    }
    for (let i = 0; i < text.length; ++i) {
      const unit = text.charCodeAt(i)
      const paired = (text.codePointAt(i) ?? 0) > 0xffff
      if (!paired && staysVisible(unit)) {
        units[length++] = unit
        continue
      }
      put(unit)
      if (paired) put(text.charCodeAt(++i))
    }
    return decodeUnits(units.subarray(0, length))
  }
  const real = (text: string) => {
    if (text.search(pattern) < 0) return text
    const units = new Uint16Array(text.length)
    let length = 0
    for (let i = 0; i < text.length; ++i) {
      const code = text.codePointAt(i) ?? 0
      const hidden = code >= plane && code <= plane + 0xffff
      units[length++] = hidden ? code - plane : text.charCodeAt(i)
      if (hidden) ++i
    }
    return decodeUnits(units.subarray(0, length))
  }
  return {
    real,
    hide,
    alike: (text, beside) => (beside.search(pattern) >= 0 ? hide(real(text)) : text),
    reveal(rendered) {
      const parts: Part[] = []
      let end = 0
      const runs = new RegExp(`${pattern.source}+`, 'gu')
      for (const match of rendered.matchAll(runs)) {
        const between = rendered.slice(end, match.index)
        // Visible characters between hidden ones are taken for a part of the same text: none of them can be part of a marker.
        const inside = end > 0 && onlyVisible(between)
        parts.push({ text: between, trusted: !inside })
        parts.push({ text: real(match[0]), trusted: false })
        end = match.index + match[0].length
      }
      parts.push({ text: rendered.slice(end), trusted: true })
      return joined(parts)
    },
  }
}

/** The units as a text; unlike TextDecoder this keeps lone surrogates. */
function decodeUnits(units: Uint16Array): string {
  const bytes = Buffer.from(units.buffer, units.byteOffset, units.byteLength)
  return (endianness() === 'LE' ? bytes : bytes.swap16()).toString('utf16le')
}

/** Without empty parts, neighbours of one trust made one. */
function joined(parts: readonly Part[]): Part[] {
  const result: { text: string; trusted: boolean }[] = []
  for (const part of parts) {
    const last = result.at(-1)
    if (part.text === '') continue
    if (last?.trusted === part.trusted) last.text += part.text
    else result.push({ ...part })
  }
  return result
}
