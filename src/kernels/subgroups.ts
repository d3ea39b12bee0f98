import type { Run } from "./run.ts"

/** Multiplications and additions from which a kernel that shares loads repays what compiling it costs, up to 2 seconds once. */
const WORTHWHILE = 2 ** 23

/**
 * Whether to use a kernel that shares loads within a subgroup, for so many multiplications and additions. It is the faster one
 * on lavapipe (3 to 4 times) and SwiftShader (1.8 times), where loads cost more than anything; on hardware it is not measured.
 */
export function sharesLoads({ device }: Run, multiplications: number): boolean {
  if (!device.subgroups) return false
  return device.alwaysSubgroups || (device.software && multiplications >= WORTHWHILE)
}
