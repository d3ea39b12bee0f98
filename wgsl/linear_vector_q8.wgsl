// y[first_row + n] = sum_c x[c] * weight[n, c]: linear for a single token and weights of eight bits, 4 rows per invocation.
//   x [1, C], rounded to int8 here   weight [rows, C] q8   y [1, N]
// or, where GATED, of weights that are rows of a gate and then as many more: y[n] = act(gate[n] . x) * (up[n] . x)
//   weight [2 * rows, C] q8   y [1, rows]; rows a multiple of 4; act is GELU in its tanh form or SiLU
// Sums over a block of 32 columns are of integers, and exact.
// links lib/int8_blocks.wgsl
// links lib/activations.wgsl
const BLOCK_WORDS = 9u; // of a row
fn four(w: vec4<u32>, c: u32) -> vec4<i32> {
  return vec4<i32>(dot4I8Packed(w.x, c), dot4I8Packed(w.y, c), dot4I8Packed(w.z, c), dot4I8Packed(w.w, c));
}

// 16 columns of four rows.
fn sixteen(i: u32, c: vec4<u32>) -> vec4<i32> {
  return (four(weight[i], c.x) + four(weight[i + 1u], c.y)) + (four(weight[i + 2u], c.z) + four(weight[i + 3u], c.w));
}

// A block of four rows that begins at i.
fn block(i: u32, b: u32) -> vec4<f32> {
  let sums = sixteen(i, codes[2u * b]) + sixteen(i + 4u, codes[2u * b + 1u]);
  return bitcast<vec4<f32>>(weight[i + 8u]) * (scales[b] * vec4<f32>(sums));
}
