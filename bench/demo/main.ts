/** The demo on this terminal. Its options are in demo.ts. */
import { demo } from './demo.js'

const { stdout } = process
await demo(process.argv.slice(2), { write: (text) => stdout.write(text), tty: stdout.isTTY, columns: stdout.columns ?? 100 })
