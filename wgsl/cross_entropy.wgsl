// loss[t] = log(sum_v exp(logits[t, v])) - logits[t, targets[t]], one workgroup per row.
//   logits [T, V]   targets [T]   loss [T]
const LANES = 64u;
const LOWEST = -3.0e38;
struct Params { V: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> highest: array<f32, LANES>;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let row = t * params.V;
  var top = LOWEST;
  for (var v = lane; v < params.V; v += LANES) { top = max(top, logits[row + v]); }
  highest[lane] = top;
  workgroupBarrier();
  for (var i = 0u; i < LANES; i++) { top = max(top, highest[i]); }
  var sum = 0.0;
  for (var v = lane; v < params.V; v += LANES) { sum += exp(logits[row + v] - top); }
  sums[lane] = sum;
  workgroupBarrier();
  if (lane == 0u) {
    sum = 0.0;
    for (var i = 0u; i < LANES; i++) { sum += sums[i]; }
    loss[t] = log(sum) + (top - logits[row + targets[t]]); // in this order: logits may be far from zero
  }
}
