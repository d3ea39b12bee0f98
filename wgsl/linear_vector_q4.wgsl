// y[t, first_row + n] = sum_c x[t, c] * weight[n, c]: linear for few tokens and weights of four bits, 4 rows per invocation.
//   x [T, C], rounded to int8 here, TOKENS at a time   weight [rows, C] q4   y [T, N]
// or, where GATED, of weights that are rows of a gate and then as many more: y[t, n] = act(gate[n] . x[t]) * (up[n] . x[t])
//   weight [2 * rows, C] q4   y [T, N], N = rows, a multiple of 4; act is GELU in its tanh form or SiLU
// links lib/int8_blocks.wgsl
// links lib/block_q4.wgsl
// links lib/codes.wgsl
// links lib/activations.wgsl
