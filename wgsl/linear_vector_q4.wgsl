// y[first_row + n] = sum_c x[c] * weight[n, c]: linear for a single token and weights of four bits, 4 rows per invocation.
//   x [1, C], rounded to int8 here   weight [rows, C] q4   y [1, N]
// or, where GATED, of weights that are rows of a gate and then as many more: y[n] = act(gate[n] . x) * (up[n] . x)
//   weight [2 * rows, C] q4   y [1, rows]; rows a multiple of 4; act is GELU in its tanh form or SiLU
// links lib/int8_blocks.wgsl
// links lib/block_q4.wgsl
// links lib/codes.wgsl
// links lib/activations.wgsl
