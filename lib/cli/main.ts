#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import path from 'node:path'

import { Command } from 'commander'

import { packageRoot } from '../native.js'
import { addBench } from './bench.js'
import { addDoctor } from './doctor.js'
import { addGenerate } from './generate.js'
import { addInspect } from './inspect.js'
import { endWithReader, reportError } from './output.js'
import { addQuantize } from './quantize.js'

const manifest = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8')) as { version: string }

const program = new Command('agentinfer')
  .description('Runs openPangu, Llama and Qwen models inside the Node process')
  .version(manifest.version)
  .option('--debug', 'print stack traces')
  .showHelpAfterError('(--help lists the options)')
addGenerate(program)
addInspect(program)
addQuantize(program)
addDoctor(program)
addBench(program)

endWithReader()
try {
  await program.parseAsync()
} catch (error) {
  reportError(error, program.opts<{ debug?: boolean }>().debug === true)
  process.exitCode = 1
}
