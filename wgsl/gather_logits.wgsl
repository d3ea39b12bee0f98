// values[t, k] = capped(logits[t, ids[t, k]]), capped(l) = cap * tanh(l / cap), or l where cap is 0.
//   logits [T, V]   ids [T, K]   values [T, K]
// The vocabulary may come in blocks: this one's logits are those of tokens [first, first + V), and values of other ids are
// left as they are; in the first block they become LOWEST. One invocation per id.
// links lib/tanh.wgsl
override WORKGROUP: u32 = 64;
const LOWEST = -3.0e38;
struct Params { n: u32, V: u32, K: u32, first: u32, cap: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n) { return; }
  let v = ids[i] - params.first; // wraps to a huge number below first
  if (v < params.V) {
    var l = logits[i / params.K * params.V + v];
    if (params.cap != 0.0) { l = params.cap * tanh1(l / params.cap); }
    values[i] = l;
  } else if (params.first == 0u) {
    values[i] = LOWEST;
  }
}
