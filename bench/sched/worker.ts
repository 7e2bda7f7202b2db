import { runJob } from './run.js'
import type { Job } from './run.js'

process.on('message', (job: Job) => process.send!(runJob(job)))
