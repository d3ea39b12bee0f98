// y[r] = sum_p exp(part_lse[p, r] - lse[r]) * part[p, r] with lse[r] = log(sum_p exp(part_lse[p, r])): the softmax over all keys
// from those over the parts that attend.wgsl gives.
//   part [parts, rows, D]   part_lse [parts, rows], LOWEST for a part without keys   y [rows, D]   lse [rows]
// One workgroup per row, four columns to a lane.
// links lib/parts.wgsl
struct Params { parts: u32, rows: u32, D4: u32 }
@group(0) @binding(0) var<storage, read> part: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> part_lse: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> lse: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = group.x;
  if (lane >= params.D4) { return; }
  var whole = nothing();
  for (var p = 0u; p < params.parts; p++) {
    let i = p * params.rows + row;
    let here = part_lse[i];
    if (here > LOWEST) { whole = with_part(whole, here, part[i * params.D4 + lane]); }
  }
  y[row * params.D4 + lane] = whole.sum / whole.total;
  if (lane == 0u) { lse[row] = whole.highest + log(whole.total); }
}
