// Rows weight_row + n of a matrix, n < rows, to four bits, into rows into_row + n of `into`, as src/kernels/tensor.ts lays them:
//   code = clamp(round(w / scale) + zero, 0, 15),   zero = round(15 * -low / (high - low)),   scale = f * (high - low) / 15
// for each block of 32 columns, low and high being its least and greatest weight, or 0 where that is beyond. Of the f from 1
// down to 0.7 in STEPS steps the one with the smallest sum of squared errors is taken, the largest of equals.
//   weight [weight_row + rows or more, C]   into [into_row + rows or more, C] q4
// One invocation per block.
// links lib/weight_*.wgsl
const LANES = 64u;
const STEPS = 12u;
struct Params { C4: u32, weight_row: u32, into_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read_write> into: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

fn codes(v: vec4<f32>, per_unit: f32, zero: f32) -> vec4<f32> {
  return clamp(round(v * per_unit) + zero, vec4<f32>(0.0), vec4<f32>(15.0));
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
  for (var c = 8u * b; c < 8u * b + 8u; c++) {
    let v = weight4(row, c);
    low = min(low, min(min(v.x, v.y), min(v.z, v.w)));
    high = max(high, max(max(v.x, v.y), max(v.z, v.w)));
  }
  let range = high - low;
  let zero = select(0.0, clamp(round(15.0 * (-low / range)), 0.0, 15.0), range > 0.0);
  var scale = 0.0;
  var least = 3.0e38;
  for (var step = 0u; step <= STEPS; step++) {
    let f = 1.0 - 0.3 * f32(step) / f32(STEPS);
    let s = bitcast<f32>(bitcast<u32>(f * range / 15.0) & ~15u);
    let per_unit = select(0.0, 1.0 / s, s > 0.0);
    var error = 0.0;
    for (var c = 8u * b; c < 8u * b + 8u; c++) {
      let v = weight4(row, c);
      let e = v - s * (codes(v, per_unit, zero) - zero);
      error += dot(e, e);
    }
    if (error < least) {
      least = error;
      scale = s;
    }
  }
  let per_unit = select(0.0, 1.0 / scale, scale > 0.0);
  let into_row = params.into_row + n;
  let at = (into_row & ~3u) * (blocks * 5u) + (into_row & 3u) + 20u * b;
  for (var j = 0u; j < 4u; j++) {
    var word = 0u;
    for (var h = 0u; h < 2u; h++) {
      let q = vec4<u32>(codes(weight4(row, 8u * b + 2u * j + h), per_unit, zero));
      word |= (q.x | (q.y << 4u) | (q.z << 16u) | (q.w << 20u)) << (8u * h);
    }
    into[at + 4u * j] = word;
  }
  into[at + 16u] = bitcast<u32>(scale) | u32(zero);
}
