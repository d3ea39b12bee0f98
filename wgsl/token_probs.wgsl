// probs[t, k] = exp((values[t, k] - max) / temperature) / sum, with scores[t] = (max, sum) of log_sum_exp.
//   values, probs [T, K]   scores [T, 2]
// One invocation per value.
override WORKGROUP: u32 = 64;
struct Params { n: u32, K: u32, temperature: f32 }
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> scores: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> probs: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n) { return; }
  let s = scores[i / params.K];
  probs[i] = exp((values[i] - s.x) / params.temperature) / s.y;
}
