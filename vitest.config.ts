import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/webapp/support/build-page.ts'],
    // Tests start real worker processes: their bounds only end a hang. A busy machine makes tests slow, not red.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: 'forks',
    maxWorkers: 2
  }
})
