// partials[slot + g] = sum of |weight| over the 4096 elements that workgroup g takes.
//   weight [rows, C], seen as n4 times four in a row   partials [slots]
// A tree all the way, so that rounding errors do not pile up: 4 by 4 within a lane, then pairs of lanes.
// links lib/weight_*.wgsl
const LANES = 64u;
struct Params { n4: u32, slot: u32, groups: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let g = group.y * groups.x + group.x;
  let all = weight_row(0u, params.n4);
  var i = g * LANES * 16u + lane;
  var sum = vec4<f32>(0.0);
  for (var a = 0u; a < 4u; a++) {
    var four = vec4<f32>(0.0);
    for (var b = 0u; b < 4u; b++) {
      if (i < params.n4) { four += abs(weight4(all, i)); }
      i += LANES;
    }
    sum += four;
  }
  sums[lane] = (sum.x + sum.y) + (sum.z + sum.w);
  workgroupBarrier();
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    if (lane < width) { sums[lane] += sums[lane + width]; }
    workgroupBarrier();
  }
  if (lane == 0u && g < params.groups) { partials[params.slot + g] = sums[0]; }
}
