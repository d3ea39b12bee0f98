// Rows weight_row + n of a matrix, n < rows, to four bits, into rows into_row + n of `into`, as src/kernels/tensor.ts lays them.
// For each block of 32 columns, low and high being its least and greatest weight, or 0 where that is beyond, codes are
//   u = clamp(round(w / step), -zero, 15 - zero),   code = u + zero,   step = f * (high - low) / 15
// and the scale is what fits them best, sum(m w u) / sum(m u^2), m saying how much a column matters. Of the f from 1 down to 0.72 by
// 0.04, each with zero above and below 15 * -low / (high - low), those are taken that leave the smallest sum of m times squared
// errors, sum(m w^2) - sum(m w u)^2 / sum(m u^2).
//   weight [weight_row + rows or more, C]   matters [C]   into [into_row + rows or more, C] q4
// One invocation per block.
// links lib/weight_*.wgsl
const LANES = 64u;
const STEPS = 8u;
struct Params { C4: u32, weight_row: u32, into_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read> matters: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> into: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

fn codes(v: vec4<f32>, per_unit: f32, zero: f32) -> vec4<f32> {
  return clamp(round(v * per_unit), vec4<f32>(-zero), vec4<f32>(15.0 - zero));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * LANES + lane;
  let blocks = params.C4 / 8u;
  let n = i / blocks;
  let b = i % blocks;
  if (n >= params.rows) { return; }
  let row = weight_row(params.weight_row + n, params.C4);
  var low = 0.0;
  var high = 0.0;
  var explained = 0.0; // of sum(m w^2)
  var scale = 0.0;
  var per_unit = 0.0;
  var zero = 0.0;
  for (var c = 8u * b; c < 8u * b + 8u; c++) {
    let v = weight4(row, c);
    low = min(low, min(min(v.x, v.y), min(v.z, v.w)));
    high = max(high, max(max(v.x, v.y), max(v.z, v.w)));
  }
  let range = high - low;
  if (range > 0.0) {
    let between = 15.0 * (-low / range);
    for (var i = 0u; i < 2u * STEPS; i++) {
      let z = clamp(floor(between) + f32(i & 1u), 0.0, 15.0);
      let unit = 15.0 / ((1.0 - 0.04 * f32(i / 2u)) * range);
      var wu = 0.0;
      var uu = 0.0;
      for (var c = 8u * b; c < 8u * b + 8u; c++) {
        let v = weight4(row, c);
        let u = codes(v, unit, z);
        wu += dot(matters[c] * v, u);
        uu += dot(matters[c] * u, u);
      }
      if (uu > 0.0 && wu * (wu / uu) > explained) {
        explained = wu * (wu / uu);
        scale = wu / uu;
        per_unit = unit;
        zero = z;
      }
    }
  }
  let into_row = params.into_row + n;
  let at = (into_row & ~31u) * (blocks * 5u) + (into_row & 31u) + 160u * b;
  for (var j = 0u; j < 4u; j++) {
    var word = 0u;
    for (var h = 0u; h < 2u; h++) {
      let q = vec4<u32>(codes(weight4(row, 8u * b + 2u * j + h), per_unit, zero) + zero);
      word |= (q.x | (q.y << 4u) | (q.z << 16u) | (q.w << 20u)) << (8u * h);
    }
    into[at + 32u * j] = word;
  }
  into[at + 128u] = (bitcast<u32>(scale) & ~15u) | u32(zero);
}
