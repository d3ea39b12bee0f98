// The natural log-probability of the token that sequence b has drawn last, and the K[b] likeliest tokens with theirs:
// output[b, row] = (log p(token), then K times (id, log p(id))), row = (count of drawn - 1) % ROWS, floats by their bits.
//   logits [n, V]   token [B]   cursor [B, 2], (position, drawn)   count [B], K   output [B, ROWS, 1 + 2 MOST]
//   values, ids [n, P, MOST] and sums [n, P, 2] of likeliest_parts
// log p(i) = logit[i] - max - log(sum exp(logit - max)). Slots past the vocabulary get the id NONE. Nothing is written for a
// sequence that is none, at NO_POSITION.
// One workgroup per row; it joins the P stretches as they were made.
// links lib/before.wgsl
// links lib/first_of_lanes.wgsl
const LANES = 64u;
const MOST = 20u;
const ROWS = 16u;
const LOWEST = -3.0e38;
const NO_POSITION = 0xffffffffu;
struct Params { V: u32, P: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> token: array<u32>;
@group(0) @binding(2) var<storage, read> cursor: array<u32>;
@group(0) @binding(3) var<storage, read> count: array<u32>;
@group(0) @binding(4) var<storage, read> values: array<f32>;
@group(0) @binding(5) var<storage, read> ids: array<u32>;
@group(0) @binding(6) var<storage, read> sums: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read_write> output: array<u32>;
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let b = group.x;
  if (cursor[2u * b] == NO_POSITION) { return; }
  let row = (b * ROWS + (cursor[2u * b + 1u] - 1u) % ROWS) * (1u + 2u * MOST);
  let first_part = b * params.P;
  var top = LOWEST;
  for (var p = 0u; p < params.P; p++) { top = max(top, sums[first_part + p].x); }
  var sum = 0.0;
  for (var p = 0u; p < params.P; p++) { sum += sums[first_part + p].y * exp(sums[first_part + p].x - top); }
  let log_sum = log(sum);
  if (lane == 0u) { output[row] = bitcast<u32>(logits[b * params.V + token[b]] - top - log_sum); }

  var last = 0.0;
  var last_id = NONE;
  let K = min(count[b], MOST);
  for (var k = 0u; k < K; k++) {
    var value = LOWEST;
    var id = NONE;
    for (var i = lane; i < params.P * K; i += LANES) {
      let at = (first_part + i / K) * MOST + i % K;
      let x = values[at];
      let v = ids[at];
      if ((k == 0u || before(last, last_id, x, v)) && before(x, v, value, id)) { value = x; id = v; }
    }
    first_of_lanes(lane, value, id);
    last = first_values[0];
    last_id = first_ids[0];
    if (lane == 0u) {
      output[row + 1u + 2u * k] = last_id;
      output[row + 2u + 2u * k] = bitcast<u32>(last - top - log_sum);
    }
    workgroupBarrier();
  }
}
