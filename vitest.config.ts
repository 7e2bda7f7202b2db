import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Real processes: worker_threads inside worker_threads would hide faults of environment teardown.
    pool: 'forks',
    testTimeout: 60_000,
    // Tests of the package use what users get: the built files.
    server: { deps: { external: [/\/dist\//] } },
  },
})
