// Sorts each row of the K best by falling logit, equals by rising token, and gives capped(logit) beside each: capped(l) =
// cap * tanh(l / cap), or l where cap is 0.
//   values, ids [T, K], from top_k   sorted_values, sorted_ids [T, K]
// One invocation per entry, which counts those before it.
// links lib/tanh.wgsl
override WORKGROUP: u32 = 64;
struct Params { n: u32, K: u32, cap: f32 }
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> sorted_values: array<f32>;
@group(0) @binding(3) var<storage, read_write> sorted_ids: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n) { return; }
  let row = i / params.K * params.K;
  var x = values[i];
  var rank = 0u;
  for (var j = row; j < row + params.K; j++) {
    let y = values[j];
    if (y > x || (y == x && ids[j] < ids[i])) { rank++; }
  }
  if (params.cap != 0.0) { x = params.cap * tanh1(x / params.cap); }
  sorted_values[row + rank] = x;
  sorted_ids[row + rank] = ids[i];
}
