// Of each row of logits: the rank of its target among all tokens by falling logit, from 1, the lower token first among equals; and
// the entropy of its softmax in nats, log(sum_v e_v) - sum_v e_v d_v / sum_v e_v with d = logit - max, e = exp(d).
//   logits [T, V]   targets [T], each below V   softmax [T, (max, sum_v e_v, ..)] of cross_entropy   ranks, entropy [T]
// One workgroup per row.
const LANES = 64u;
const FAR = -1.0e4; // exp of it is 0, and so is what it gives
struct Params { V: u32 }
struct Softmax { highest: f32, sum: f32, hit: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> softmax: array<Softmax>;
@group(0) @binding(3) var<storage, read_write> ranks: array<u32>;
@group(0) @binding(4) var<storage, read_write> entropy: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> counts: array<u32, LANES>;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let row = t * params.V;
  let target_id = targets[t];
  let hit = logits[row + target_id];
  let all = softmax[t];
  var count = 0u;
  var sum = 0.0;
  for (var v = lane; v < params.V; v += LANES) {
    let l = logits[row + v];
    if (l > hit || (l == hit && v < target_id)) { count++; }
    let d = max(l - all.highest, FAR);
    sum += exp(d) * d;
  }
  counts[lane] = count;
  sums[lane] = sum;
  workgroupBarrier();
  // In pairs: the order loses least.
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      counts[lane] += counts[lane + half];
      sums[lane] += sums[lane + half];
    }
    workgroupBarrier();
  }
  if (lane != 0u) { return; }
  ranks[t] = counts[0] + 1u;
  entropy[t] = log(all.sum) - sums[0] / all.sum;
}
