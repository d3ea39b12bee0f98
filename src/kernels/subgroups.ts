import type { Run } from "./run.ts"
import type { Tuning } from "./tuning.ts"

/** Multiplications and additions from which a kernel that shares loads repays what compiling it costs, up to 2 seconds once. */
const WORTHWHILE = 2 ** 23

/**
 * Whether to use a kernel that shares loads within a subgroup, for so many multiplications and additions. It is the faster one
 * on lavapipe (3 to 4 times) and SwiftShader (1.8 times), where loads cost more than anything; on hardware the device's tuning
 * knows.
 */
export function sharesLoads(
  { device }: Run,
  multiplications: number,
  kind: keyof Pick<Tuning, "products" | "attention"> = "products",
): boolean {
  if (!device.subgroups) return false
  return device.alwaysSubgroups || (device.tuning[kind] === "subgroup" && multiplications >= WORTHWHILE)
}

/** The most tokens that are few for a product. */
export const FEW = 8

/**
 * Whether kernels of few tokens share loads too: where rows are streamed by one invocation each, loads are what costs. Of any size,
 * as small tiles compile as fast as other kernels.
 */
export function sharesFew({ device }: Run, kind: keyof Pick<Tuning, "products" | "attention"> = "products"): boolean {
  if (!device.subgroups) return false
  return device.alwaysSubgroups || (device.tuning.split === 1 && device.tuning[kind] === "subgroup")
}
