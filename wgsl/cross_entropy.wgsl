// loss[t] = log(sum_v exp(l[t, v])) - l[t, targets[t]], with l = cap * tanh(logits / cap), or logits where cap is 0; 0 where
// the target is IGNORED. One workgroup per row.
//   logits [T, V]   targets [T]   softmax [T, (max l, sum_v exp(l - max l), l of the target)]   loss [T]
// The vocabulary may come in blocks, one dispatch after the other: this one's logits are those of tokens
// [first, first + V). softmax and loss are those of the blocks so far, and after the last of all.
// links lib/tanh.wgsl
const LANES = 64u;
const LOWEST = -3.0e38;
const IGNORED = 0xffffffffu;
struct Params { V: u32, first: u32, cap: f32 }
struct Softmax { highest: f32, sum: f32, hit: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> softmax: array<Softmax>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> highest: array<f32, LANES>;
var<workgroup> sums: array<f32, LANES>;

fn capped(x: f32) -> f32 {
  if (params.cap == 0.0) { return x; }
  return params.cap * tanh1(x / params.cap);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let row = t * params.V;
  // In one walk: where a higher logit comes, the sum so far shrinks to it.
  var top = LOWEST;
  var sum = 0.0;
  for (var v = lane; v < params.V; v += LANES) {
    let l = capped(logits[row + v]);
    let e = exp(-abs(l - top));
    sum = select(sum + e, sum * e + 1.0, l > top);
    top = max(top, l);
  }
  highest[lane] = top;
  sums[lane] = sum;
  workgroupBarrier();
  if (lane != 0u) { return; }
  var all = Softmax(LOWEST, 0.0, LOWEST);
  if (params.first > 0u) { all = softmax[t]; }
  top = all.highest;
  for (var i = 0u; i < LANES; i++) { top = max(top, highest[i]); }
  sum = all.sum * exp(all.highest - top);
  for (var i = 0u; i < LANES; i++) { sum += sums[i] * exp(highest[i] - top); }
  let answer = targets[t];
  let v = answer - params.first; // wraps to a huge number below first
  if (v < params.V) { all.hit = capped(logits[row + v]); }
  softmax[t] = Softmax(top, sum, all.hit);
  // In this order: logits may be far from zero.
  loss[t] = select(log(sum) + (top - all.hit), 0.0, answer == IGNORED);
}
