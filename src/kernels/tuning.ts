/** Which of the kernels that give the same a device's runs are recorded with. */
export interface Tuning {
  /**
   * Neighbouring invocations that share the rows of a product of few tokens: 1 lets each stream rows of its own, as a CPU wants
   * it, more have neighbours read neighbours, as a GPU does.
   */
  readonly split: 1 | 8 | 32
  /** Large products of many tokens: by tiles alone, or by tiles that share what they load within a subgroup. */
  readonly products: "plain" | "subgroup"
  /** Attention of many tokens, likewise. */
  readonly attention: "plain" | "subgroup"
  /** Products of int8 rows and trits: by dot products of four bytes, or by 32-bit products of two halves. One token takes halves. */
  readonly ternary: "dot4" | "halves"
}

/** What is taken unmeasured: what won on the software adapters, and for hardware what is usual there. */
export function defaultTuning(software: boolean): Tuning {
  return software
    ? { split: 1, products: "subgroup", attention: "subgroup", ternary: "halves" }
    : { split: 32, products: "plain", attention: "plain", ternary: "dot4" }
}

/** @throws {RangeError} for a choice that there is not */
export function expectTuning(tuning: Partial<Tuning>): void {
  for (const [name, value] of Object.entries(tuning)) {
    const choices = CHOICES[name as keyof Tuning] as readonly unknown[] | undefined
    if (!choices)
      throw new RangeError(`tuning: ${name} is no choice, expected one of ${Object.keys(CHOICES).join(", ")}`)
    if (!choices.includes(value)) {
      throw new RangeError(`tuning: ${name} is ${String(value)}, expected one of ${choices.join(", ")}`)
    }
  }
}

/** What there is to choose from. */
export const CHOICES: { readonly [K in keyof Tuning]: readonly Tuning[K][] } = {
  split: [1, 8, 32],
  products: ["plain", "subgroup"],
  attention: ["plain", "subgroup"],
  ternary: ["dot4", "halves"],
}
