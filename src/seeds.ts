/** 2^32 over the golden ratio: the seeds of one call lie far apart, and differ from those of the seeds next to it. */
const SEED_STEP = 0x9e3779b1

/** The seed of one of several answers for which one seed was given. The first, of index 0, has that seed itself. */
export function answerSeed(seed: number, index: number): number {
  return (seed + index * SEED_STEP) % 2 ** 53
}
