// y[t, first_row + n] = sum_c x[t, c] * weight[n, c]: linear for few tokens and weights of eight bits, 4 rows per invocation.
//   x [T, C], rounded to int8 here, TOKENS at a time   weight [rows, C] q8   y [T, N]
// or, where GATED, for single tokens and weights that are rows of a gate and then as many more: y[n] = act(gate[n] . x) * (up[n] . x)
//   weight [2 * rows, C] q8   y [1, rows]; rows a multiple of 4; act is GELU in its tanh form or SiLU
// links lib/int8_blocks.wgsl
// links lib/block_q8.wgsl
// links lib/codes.wgsl
// links lib/activations.wgsl
// links lib/attended.wgsl
// links lib/parts.wgsl
