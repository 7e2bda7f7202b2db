#!/usr/bin/env node
import { Command } from 'commander'

import { addDoctor } from './doctor.js'
import { addGenerate } from './generate.js'
import { addInspect } from './inspect.js'
import { reportError } from './output.js'
import { addQuantize } from './quantize.js'

const program = new Command('agentinfer')
  .description('Runs openPangu, Llama and Qwen models inside the Node process')
  .option('--debug', 'print stack traces')
  .showHelpAfterError()
addGenerate(program)
addInspect(program)
addQuantize(program)
addDoctor(program)

try {
  await program.parseAsync()
} catch (error) {
  reportError(error, program.opts<{ debug?: boolean }>().debug === true)
  process.exitCode = 1
}
