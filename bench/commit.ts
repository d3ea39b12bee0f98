import { execFileSync } from "node:child_process"

/** The commit that is measured, marked if something other than the results differs from it. */
export function commit(): string {
  const git = (...args: string[]) => execFileSync("git", args, { encoding: "utf8" }).trim()
  const changed = git("status", "--porcelain", "--", ".", ":!bench/results") !== ""
  return git("rev-parse", "--short", "HEAD") + (changed ? "-dirty" : "")
}
