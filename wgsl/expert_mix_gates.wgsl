// gates[t] = softmax(logits[t]), or 1 / (1 + exp(-logits[t, k])) each by itself where softmax is 0.
//   logits, gates [T, K]
// One invocation per token.
override WORKGROUP: u32 = 64;
struct Params { T: u32, K: u32, softmax: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> gates: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

// Where the logistic function is 0 or 1 to f32 its argument stops, so that exp does not overflow.
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp(-clamp(x, -80.0, 80.0))); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.T) { return; }
  let start = id.x * params.K;
  let end = start + params.K;
  if (params.softmax == 0u) {
    for (var i = start; i < end; i++) { gates[i] = sigmoid(logits[i]); }
    return;
  }
  var largest = logits[start];
  for (var i = start; i < end; i++) { largest = max(largest, logits[i]); }
  var sum = 0.0;
  for (var i = start; i < end; i++) { sum += exp(logits[i] - largest); }
  for (var i = start; i < end; i++) { gates[i] = exp(logits[i] - largest) / sum; }
}
