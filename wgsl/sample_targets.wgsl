// weights[t, n] of a row's rising draws: at the first of each token its share count / N of the draws (COUNT), or its
// probability, and 0 at the others, so that each token drawn is there once.
//   ids, probs [T, N]   weights [T, N]
// One invocation per draw.
override WORKGROUP: u32 = 64;
struct Params { n: u32, N: u32, count: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> probs: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n) { return; }
  let row = i / params.N * params.N;
  if (i > row && ids[i - 1u] == ids[i]) {
    weights[i] = 0.0;
    return;
  }
  var end = i + 1u;
  while (end < row + params.N && ids[end] == ids[i]) { end++; }
  weights[i] = select(probs[i], f32(end - i) / f32(params.N), params.count == 1u);
}
