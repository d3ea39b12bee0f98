// logits[t, ids[t, k]] = LOWEST, in place, for the k with probs[t, k] > 0: log_sum_exp passes over them.
//   ids, probs [T, K]   logits [T, V]
// The vocabulary may come in blocks: this one's logits are those of tokens [first, first + V). One invocation per id.
override WORKGROUP: u32 = 64;
const LOWEST = -3.0e38;
struct Params { n: u32, V: u32, K: u32, first: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> probs: array<f32>;
@group(0) @binding(2) var<storage, read_write> logits: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n) { return; }
  let v = ids[i] - params.first; // wraps to a huge number below first
  if (v < params.V && probs[i] > 0.0) { logits[i / params.K * params.V + v] = LOWEST; }
}
