import { defineConfig, type TestUserConfig } from 'vitest/config'

// Tests meet the package as its users do: by its name, from the built files.
const common = {
  // Real processes: worker_threads inside worker_threads would hide faults of environment teardown.
  pool: 'forks',
  testTimeout: 60_000,
  hookTimeout: 120_000,
  server: { deps: { external: [/\/dist\//] } },
} satisfies TestUserConfig

export default defineConfig({
  test: {
    projects: [
      { test: { ...common, name: 'code', include: ['test/**/*.test.ts'], exclude: ['test/package/**'] } },
      // The packed tarball; needs `npm run prebuild` to have run.
      { test: { ...common, name: 'package', include: ['test/package/*.test.ts'], testTimeout: 120_000 } },
    ],
  },
})
