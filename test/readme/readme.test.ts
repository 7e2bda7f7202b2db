// What the README shows runs as it stands, but for the model's folder and the size of benchmarks; what it says of errors and channels is whole.
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { diagnosticsChannels, errorCodes, schedulerNames } from 'agentinfer'

import { checkpoint } from '../fixtures/paths.js'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const readme = readFileSync(path.join(root, 'README.md'), 'utf8')
/** Inside the package, so that it is found by its name. */
const folder = path.join(root, 'build', `readme-${process.pid}`)
mkdirSync(folder, { recursive: true })
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Block {
  readonly language: string
  readonly heading: string
  readonly code: string
}

const blocks = Array.from(readme.matchAll(/^(#{2,3} .*)$|^```(\w*)\n([^]*?)^```$/gm)).reduce<{ heading: string; list: Block[] }>(
  ({ heading, list }, [, title, language, code]) =>
    title === undefined ? { heading, list: [...list, { language: language!, heading, code: code! }] } : { heading: title.replace(/^#+ /, ''), list },
  { heading: '', list: [] },
).list

const withModel = (code: string): string =>
  code.replaceAll(/\/models\/openPangu-7B-int8/g, path.join(folder, 'int8')).replaceAll(/\/models\/[\w.-]+/g, checkpoint('pangu'))
/** The fixture's context holds no system turn with tools. */
const withAgentModels = (code: string): string => {
  const of = (size: string): string => path.join(root, 'bench/models', size)
  return code.replaceAll('/models/openPangu-Embedded-7B', of('small')).replaceAll('/models/openPangu-38B', of('large'))
}

test('every block is of a kind that a test runs, or a picture', () => {
  expect(blocks.filter(({ language }) => !['ts', 'sh', ''].includes(language))).toEqual([])
})

test('the plots are drawn from the tables', async () => {
  await expect(run(process.execPath, [path.join(root, 'bench/readme/draw.mjs'), '--check'])).resolves.toMatchObject({ stderr: '' })
})

describe('examples', () => {
  const examples = blocks.filter(({ language }) => language === 'ts')
  beforeAll(async () => {
    for (const [index, { code, heading }] of examples.entries())
      writeFileSync(path.join(folder, `example${index}.mts`), heading === 'Agents' ? withAgentModels(code) : withModel(code))
    const compiler = { extends: '../../tsconfig.json', compilerOptions: { target: 'es2022', rootDir: '.', outDir: 'out', declaration: false }, include: ['*.mts'] }
    writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify(compiler))
    await run(process.execPath, [path.join(root, 'node_modules/typescript/bin/tsc'), '-p', folder]).catch((error: { stdout?: string }) => {
      throw new Error(`the README's examples do not compile:\n${error.stdout}`)
    })
  })

  /** What each prints. Where nothing is said of it here, it must end well. */
  const said: Record<string, RegExp> = {
    Generate: /./,
    Sessions: /^[1-9]\d* of \d+ prompt tokens were there from the first turn:/,
    Serve: /^32 answers; (?:[5-9]\d|100) % of \d+ prompt tokens were in the cache\n$/,
    Schedulers: /^gold-first: \d+ ms\n$/,
    Agents: /./,
    Watching: /^request 1: \d+ tokens in \d+ ms, \d+ read from the cache\n$/,
  }

  test('there is one for each thing that is promised', () => {
    expect(examples.map(({ heading }) => heading)).toEqual(expect.arrayContaining(Object.keys(said)))
  })

  test.each(examples.map(({ heading }, index) => [heading, index] as const))('%s', async (heading, index) => {
    const { stdout, stderr } = await run(process.execPath, [path.join(folder, `out/example${index}.mjs`)], { timeout: 60_000 })
    expect(stdout).toMatch(said[heading] ?? /^/)
    expect(stderr).toBe('')
  })

  test('the agent of two models is no longer than 25 lines', () => {
    const { code } = examples.find(({ heading }) => heading === 'Agents')!
    expect(code.split('\n').filter((line) => line.trim() !== '').length).toBeLessThanOrEqual(25)
  })

  /** The small models beside this know other tools than the example's, so a script says what they write; all else is real. */
  test('the agent of two models prints its calls, observations, changes of model and answer', async () => {
    const says = [
      '[unused16]I look.[unused17][unused11][{"name": "search", "arguments": {"query": "Orrin"}}][unused12]',
      '[unused11][{"name": "open", "arguments": {"url": "w:1"}}][unused12]',
      'Mara Venn, as w:1 says.',
    ]
    const compiled = readFileSync(path.join(folder, `out/example${examples.findIndex(({ heading }) => heading === 'Agents')}.mjs`), 'utf8')
    const told = compiled.replace('models: { small, large }', 'models: { small: forcedEngine(small, script), large: forcedEngine(large, script) }')
    expect(told).not.toBe(compiled)
    const engine = path.join(root, 'dist/bench/forced_engine.js')
    const head = `import { Script, forcedEngine } from ${JSON.stringify(engine)}\nconst script = new Script(${JSON.stringify(says)})\n`
    writeFileSync(path.join(folder, 'told.mjs'), head + told)
    const { stdout, stderr } = await run(process.execPath, [path.join(folder, 'told.mjs')], { timeout: 60_000 })
    expect(stderr).toBe('')
    const expected = [
      '> search(query: "Orrin")', '< [{"url":"w:1"', '> open(url: "w:1")', '< The lighthouse of Orrin was built by Mara Venn in 1871.',
      'large -> small: planned', 'Mara Venn, as w:1 says.',
    ]
    let at = -1
    for (const line of expected) expect((at = stdout.indexOf(line, at + 1)), `${line} in its place in:\n${stdout}`).toBeGreaterThanOrEqual(0)
  })
})

describe('commands', () => {
  const lines = blocks
    .filter(({ language }) => language === 'sh')
    .flatMap(({ code }) => code.trim().split('\n'))
    .map((line) => line.replace(/ +#.*/, ''))
  const ours = lines.filter((line) => line.startsWith('npx agentinfer '))

  test('those of npm are scripts of this package', () => {
    const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }
    for (const line of lines.filter((one) => !ours.includes(one)))
      for (const command of line.split(' && ')) {
        const [, script = command] = /^npm (?:run )?([\w:]+)/.exec(command)!
        expect(script === 'ci' || script in scripts, command).toBe(true)
      }
  })

  /** Small sizes; of two values of an option the last one counts. */
  const small: Record<string, readonly string[]> = {
    throughput: ['--rounds', '1', '--sequences', '1,2', '--input', '16', '--output', '8'],
    serve: ['--requests', '6', '--rates', '50', '--output', '4-8'],
    latency: ['--rounds', '1', '--inputs', '16', '--output', '8'],
  }

  test.each(ours)('%s', async (line) => {
    const words = Array.from(withModel(line).matchAll(/'([^']*)'|(\S+)/g), ([, quoted, plain]) => quoted ?? plain!).slice(2)
    if (words[0] === 'bench') words.push(...(small[words[1]!] ?? []))
    if (words[0] === 'generate') words.push('--max-tokens', '8')
    const { stdout } = await run(process.execPath, [path.join(root, 'dist/esm/cli/main.js'), ...words], { cwd: folder })
    expect(stdout).not.toBe('')
    if (words.includes('--html')) expect(existsSync(path.join(folder, words[words.indexOf('--html') + 1]!))).toBe(true)
  })
})

describe('tables and lists', () => {
  test('every error code has its row, and no other', () => {
    const rows = Array.from(readme.matchAll(/^\| `(ERR_\w+)` \| .{10,} \| .{10,} \|$/gm), ([, code]) => code)
    expect(rows).toEqual([...errorCodes])
  })

  test('every channel, scheduler and command is named', () => {
    for (const name of diagnosticsChannels) expect(readme).toContain(name.split(':').at(-1))
    for (const name of schedulerNames) expect(readme).toContain(name)
    expect(readme).toMatch(/decided by `agent-sched` unless/)
  })

  test.each(['README.md', 'llms.txt'])('what %s links to in this repository is there', (file) => {
    const text = readFileSync(path.join(root, file), 'utf8')
    const targets = Array.from(text.matchAll(/\]\((?!https?:)([^)#]+)\)/g), ([, target]) => target!)
    expect(targets.length).toBeGreaterThan(4)
    expect(targets.filter((target) => !existsSync(path.join(root, target)))).toEqual([])
  })
})
