// dlogits[t, v] = dloss[t] * slopes[t, K] / temperature * exp((a - max) / temperature) / sum * (1 - (a / cap)^2), with
// a = capped(logits) and rest[t] = (max, sum) as in log_sum_exp, over the tokens that are not among the ids; the last factor
// only where cap is not 0. It is the gradient of those tokens; that of the ids is put over it by distill_sparse_scatter.
//   logits [T, V]   rest [T, 2]   slopes [T, K + 1]   dloss [T]   dlogits [T, V]
// One workgroup per row and 1024 columns.
// links lib/tanh.wgsl
const LANES = 64u;
const CHUNK = 1024u;
struct Params { V: u32, K: u32, cap: f32, temperature: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> rest: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> slopes: array<f32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.y;
  let row = t * params.V;
  let slope = slopes[t * (params.K + 1u) + params.K];
  let scale = dloss[t] * slope / params.temperature;
  for (var v = group.x * CHUNK + lane; v < min(params.V, (group.x + 1u) * CHUNK); v += LANES) {
    var l = logits[row + v];
    var u = 0.0;
    if (params.cap != 0.0) {
      u = tanh1(l / params.cap);
      l = params.cap * u;
    }
    let p = exp(min(l - rest[t].x, 0.0) / params.temperature) / rest[t].y; // above the rest's maximum are only ids
    dlogits[row + v] = select(scale * p * (1.0 - u) * (1.0 + u), 0.0, slope == 0.0);
  }
}
