// y[first_row + n] = sum_c x[c] * weight[n, c]: linear for a single token and weights of eight bits, 4 rows per invocation.
//   x [1, C], rounded to int8 here   weight [rows, C] q8   y [1, N]
// or, where GATED, of weights that are rows of a gate and then as many more: y[n] = act(gate[n] . x) * (up[n] . x)
//   weight [2 * rows, C] q8   y [1, rows]; rows a multiple of 4; act is GELU in its tanh form or SiLU
// Sums over a block of 32 columns are of integers, and exact.
// links lib/int8_blocks.wgsl
// links lib/activations.wgsl
override WORKGROUP: u32 = 32;
override GATED: bool = false;
override SILU: bool = false;
struct Params { first_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>; // of four rows
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

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

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = id.x * 4u;
  let start = min(id.x, (params.rows - 1u) / 4u) * BLOCKS * 9u; // past the edge the last rows; not stored
  let other = start + params.rows / 4u * BLOCKS * 9u;
  var values = vec4<f32>(0.0);
  var up = vec4<f32>(0.0);
  round_blocks(lane, WORKGROUP);
  for (var b = 0u; b < BLOCKS; b++) {
    values += block(start + b * 9u, b);
    if (GATED) { up += block(other + b * 9u, b); }
  }
  if (GATED) {
    if (SILU) { values = silu(values) * up; } else { values = gelu(values) * up; }
  }
  let i = params.first_row + row;
  if (row < params.rows) { y[i] = values.x; }
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}
