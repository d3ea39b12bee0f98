// The natural log-probability of the token drawn last, and the K likeliest tokens with theirs:
// output[row] = (log p(token), then K times (id, log p(id))), row = (cursor[1] - 1) % ROWS, floats by their bits.
//   logits [V]   token [1]   cursor [position, drawn]   count [1], K   output [ROWS, 1 + 2 MOST]
//   values, ids [P, MOST] and sums [P, 2] of likeliest_parts
// log p(i) = logit[i] - max - log(sum exp(logit - max)). Slots past the vocabulary get the id NONE.
// One workgroup; it joins the P stretches as they were made.
// links lib/before.wgsl
const LANES = 64u;
const MOST = 20u;
const ROWS = 16u;
const LOWEST = -3.0e38;
struct Params { P: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> token: array<u32>;
@group(0) @binding(2) var<storage, read> cursor: array<u32>;
@group(0) @binding(3) var<storage, read> count: array<u32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read> ids: array<u32>;
@group(0) @binding(6) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> output: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> best_values: array<f32, LANES>;
var<workgroup> best_ids: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
  let row = (cursor[1] - 1u) % ROWS * (1u + 2u * MOST);
  var top = LOWEST;
  for (var p = 0u; p < params.P; p++) { top = max(top, sums[p].x); }
  var sum = 0.0;
  for (var p = 0u; p < params.P; p++) { sum += sums[p].y * exp(sums[p].x - top); }
  let log_sum = log(sum);
  if (lane == 0u) { output[row] = bitcast<u32>(logits[token[0]] - top - log_sum); }

  var last = 0.0;
  var last_id = NONE;
  let K = min(count[0], MOST);
  for (var k = 0u; k < K; k++) {
    var value = LOWEST;
    var id = NONE;
    for (var i = lane; i < params.P * K; i += LANES) {
      let at = i / K * MOST + i % K;
      let x = values[at];
      let v = ids[at];
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
      output[row + 1u + 2u * k] = last_id;
      output[row + 2u + 2u * k] = bitcast<u32>(last - top - log_sum);
    }
    workgroupBarrier();
  }
}
