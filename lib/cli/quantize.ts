import type { Command } from 'commander'

import { fromNative } from '../errors.js'
import { native } from '../native.js'
import { bytes, number, progressLine } from './output.js'

export function addQuantize(program: Command): void {
  program
    .command('quantize <in> <out>')
    .description('Make an int8 (W8A8) folder, which opens without converting, from a 16-bit one')
    .option('--threads <n>', 'threads', number)
    .action(run)
}

async function run(source: string, target: string, flags: { threads?: number }): Promise<void> {
  const progress = progressLine('quantizing')
  const task = native().quantize({ source, target, ...flags }, (done, total) => progress.update(done, total))
  const abort = (): void => task.abort()
  process.once('SIGINT', abort)
  try {
    const { sourceBytes, writtenBytes, matrices, files } = await task.done
    progress.end()
    process.stdout.write(`${matrices} matrices, ${bytes(sourceBytes)} to ${bytes(writtenBytes)} in ${files} file(s): ${target}\n`)
  } catch (error) {
    progress.end()
    throw fromNative(error)
  } finally {
    process.removeListener('SIGINT', abort)
  }
}
