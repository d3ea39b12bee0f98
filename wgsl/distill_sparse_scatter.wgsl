// dlogits[t, ids[t, k]] = dloss[t] * slopes[t, k] / temperature * (1 - (capped(logits) / cap)^2), in place, for the k with
// probs[t, k] > 0; the last factor only where cap is not 0. Used ids of a row are distinct.
//   logits [T, V]   ids, probs [T, K]   slopes [T, K + 1]   dloss [T]   dlogits [T, V]
// The vocabulary may come in blocks: this one's logits are those of tokens [first, first + V). One invocation per id.
// links lib/tanh.wgsl
override WORKGROUP: u32 = 64;
struct Params { n: u32, V: u32, K: u32, first: u32, cap: f32, temperature: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> probs: array<f32>;
@group(0) @binding(3) var<storage, read> slopes: array<f32>;
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n || probs[i] <= 0.0) { return; }
  let t = i / params.K;
  let v = ids[i] - params.first; // wraps to a huge number below first
  if (v >= params.V) { return; }
  var u = 0.0;
  if (params.cap != 0.0) { u = tanh1(logits[t * params.V + v] / params.cap); }
  let slope = slopes[i + t]; // a row of slopes is one longer
  let d = dloss[t] * slope / params.temperature * (1.0 - u) * (1.0 + u);
  dlogits[t * params.V + v] = select(d, 0.0, slope == 0.0);
}
