/** The value of a bfloat16. */
export function bf16(bits: number): number {
  return binary(bits, 8, 7)
}

/** The value of an IEEE half. */
export function f16(bits: number): number {
  return binary(bits, 5, 10)
}

/** The value of a finite number of the IEEE kind, with so many bits of exponent and of fraction. */
function binary(bits: number, exponentBits: number, fractionBits: number): number {
  const bias = 2 ** (exponentBits - 1) - 1
  const sign = bits >> (exponentBits + fractionBits) ? -1 : 1
  const exponent = (bits >> fractionBits) & (2 ** exponentBits - 1)
  const fraction = (bits & (2 ** fractionBits - 1)) / 2 ** fractionBits
  return exponent === 0 ? sign * fraction * 2 ** (1 - bias) : sign * (1 + fraction) * 2 ** (exponent - bias)
}
