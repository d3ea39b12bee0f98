// Gradient with respect to the gates' logits, from the gated result: as y[t, k R + j] is gates[t, k] times something,
// gates[t, k] times the gate's gradient is e[t, k] = sum_j dy[t, k R + j] * y[t, k R + j], and so
//   dlogits[t, k] = e[t, k] - gates[t, k] * sum_l e[t, l] for softmax, e[t, k] * (1 - gates[t, k]) where softmax is 0
//   gates, dlogits [T, K]   y, dy [T, K R]
// One invocation per token.
override WORKGROUP: u32 = 64;
struct Params { T: u32, K: u32, R4: u32, softmax: u32 }
@group(0) @binding(0) var<storage, read> gates: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.T) { return; }
  let start = id.x * params.K;
  let end = start + params.K;
  var sum = 0.0;
  for (var i = start; i < end; i++) {
    var e = 0.0;
    for (var j = i * params.R4; j < (i + 1u) * params.R4; j++) { e += dot(dy[j], y[j]); }
    dlogits[i] = select(e * (1.0 - gates[i]), e, params.softmax != 0u);
    sum += e;
  }
  if (params.softmax == 0u) { return; }
  for (var i = start; i < end; i++) { dlogits[i] -= gates[i] * sum; }
}
