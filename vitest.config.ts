import { defineConfig } from "vitest/config"

// The adapter is found through process.env and dlopen, which only work on a process's main thread: hence forks.
// One worker: a software adapter already uses every core.
export default defineConfig(({ mode }) => ({
  test: {
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    include: mode === "large" ? ["test/large/**/*.test.ts"] : ["test/**/*.test.ts"],
    exclude: mode === "large" ? [] : ["test/large/**"],
  },
}))
