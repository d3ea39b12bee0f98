import { defineConfig } from "vitest/config"

/** What `npm test` leaves out: it is run with its own mode. */
const SEPARATE = ["large", "web"]

// The adapter is found through process.env and dlopen, which only work on a process's main thread: hence forks.
// One worker: a software adapter already uses every core.
export default defineConfig(({ mode }) => ({
  test: {
    pool: "forks",
    maxWorkers: 1,
    // In a browser a step alone may take 120 s, and is named where it does.
    testTimeout: mode === "web" ? 240_000 : 120_000,
    hookTimeout: 120_000,
    include: SEPARATE.includes(mode) ? [`test/${mode}/**/*.test.ts`] : ["test/**/*.test.ts"],
    exclude: SEPARATE.includes(mode) ? [] : SEPARATE.map((folder) => `test/${folder}/**`),
  },
}))
