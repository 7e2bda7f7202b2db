/** Pages that need nothing else: plots by vega-lite, whose code they carry. */
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A vega-lite specification, without its $schema. */
export type Spec = Readonly<Record<string, unknown>>

export interface Plot {
  readonly title: string
  /** A paragraph above it; '': none. */
  readonly about: string
  readonly spec: Spec
}

/** `body` is HTML; a plot appears in the element with the id `plot` and its number. */
export function page(title: string, body: string, plots: readonly Plot[]): string {
  const specs = plots.map(({ spec }) => ({ $schema: 'https://vega.github.io/schema/vega-lite/v6.json', ...spec }))
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${text(title)}</title>
<style>
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 0.5em 0 2em; font-variant-numeric: tabular-nums }
th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid #e4e4e4; font-weight: normal }
th:first-child, td.text { text-align: left } .wide { overflow-x: auto } .wide th:first-child { white-space: nowrap }
.ours { background: #fdf0e8 } .holds .verdict { color: #080 } .misses .verdict { color: #b00 }
</style>
${scripts()}
</head><body>
${body}
<script>
const plots = ${JSON.stringify(specs).replaceAll('<', String.raw`\u003c`)}
plots.forEach((spec, i) => vegaEmbed('#plot' + i, spec, { actions: false, renderer: 'svg' }))
</script>
</body></html>
`
}

/** Headings, and the places where the plots appear. */
export function places(plots: readonly Plot[]): string {
  return plots.map(({ title, about }, i) => `<h3>${text(title)}</h3>${about === '' ? '' : `<p>${text(about)}</p>`}<div id="plot${i}"></div>`).join('\n')
}

/** As text of a page. */
export function text(value: string): string {
  return value.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}

/** The minified builds of vega, vega-lite and vega-embed (bench/assets.mjs put them here); each sets a global. */
function scripts(): string {
  return ['vega', 'vega-lite', 'vega-embed']
    .map((name) => {
      const file = fileURLToPath(new URL(`vega/${name}.min.js`, import.meta.url))
      if (!existsSync(file)) throw new Error(`a page needs ${file}: npm ci && npm run build:bench`)
      const code = readFileSync(file, 'utf8').replace(/\/\/# sourceMappingURL=.*/, '')
      return `<script>${code.replaceAll('</script', String.raw`<\/script`)}</script>`
    })
    .join('\n')
}
