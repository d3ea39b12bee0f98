// What likeliest needs of each stretch of the vocabulary: its K largest logits, the largest first and the lower token first
// among equals, and the sum of its exponentials.
//   logits [V]   count [1], K, at most MOST   values, ids [P, MOST]   sums [P, 2], (max, sum of exp(logit - max))
// Slots past K are not written; those past the stretch get NONE. One workgroup per stretch of `stretch` tokens. Each of its
// K rounds finds the best of those behind the one before, so that nothing has to be marked.
// links lib/before.wgsl
const LANES = 256u;
const MOST = 20u;
const LOWEST = -3.0e38;
struct Params { V: u32, stretch: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> count: array<u32>;
@group(0) @binding(2) var<storage, read_write> values: array<f32>;
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> best_values: array<f32, LANES>;
var<workgroup> best_ids: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = group.x * params.stretch;
  let end = min(params.V, first + params.stretch);

  var top = LOWEST;
  for (var v = first + lane; v < end; v += LANES) { top = max(top, logits[v]); }
  best_values[lane] = top;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { best_values[lane] = max(best_values[lane], best_values[lane + half]); }
    workgroupBarrier();
  }
  top = best_values[0];
  workgroupBarrier();
  var sum = 0.0;
  for (var v = first + lane; v < end; v += LANES) { sum += exp(logits[v] - top); }
  best_values[lane] = sum;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { best_values[lane] += best_values[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { sums[group.x] = vec2<f32>(top, best_values[0]); }
  workgroupBarrier();

  var last = 0.0;
  var last_id = NONE;
  for (var k = 0u; k < min(count[0], MOST); k++) {
    var value = LOWEST;
    var id = NONE;
    for (var v = first + lane; v < end; v += LANES) {
      let x = logits[v];
      if ((k == 0u || before(last, last_id, x, v)) && before(x, v, value, id)) { value = x; id = v; }
    }
    best_values[lane] = value;
    best_ids[lane] = id;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half /= 2u) {
      if (lane < half) {
        let other = lane + half;
        if (before(best_values[other], best_ids[other], best_values[lane], best_ids[lane])) {
          best_values[lane] = best_values[other];
          best_ids[lane] = best_ids[other];
        }
      }
      workgroupBarrier();
    }
    last = best_values[0];
    last_id = best_ids[0];
    if (lane == 0u) {
      values[group.x * MOST + k] = last;
      ids[group.x * MOST + k] = last_id;
    }
    workgroupBarrier();
  }
}
