// What likeliest needs of each stretch of the vocabulary, for row b of the logits: its K[b] largest logits, the largest first
// and the lower token first among equals, and the sum of its exponentials.
//   logits [n, V]   cursor [B, 2], (position, ..)   count [B], K, at most MOST   values, ids [n, P, MOST]
//   sums [n, P, 2], (max, sum of exp(logit - max))
// Slots past K are not written, nor those of a sequence that is none, at NO_POSITION; those past the stretch get NONE. One
// workgroup per stretch of `stretch` tokens and row. Each of its K rounds finds the best of those behind the one before, so
// that nothing has to be marked.
// links lib/before.wgsl
// links lib/first_of_lanes.wgsl
const LANES = 256u;
const MOST = 20u;
const LOWEST = -3.0e38;
const NO_POSITION = 0xffffffffu;
struct Params { V: u32, P: u32, stretch: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> cursor: array<u32>;
@group(0) @binding(2) var<storage, read> count: array<u32>;
@group(0) @binding(3) var<storage, read_write> values: array<f32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> shares: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let b = group.y;
  if (cursor[2u * b] == NO_POSITION) { return; }
  let row = b * params.V;
  let part = b * params.P + group.x;
  let first = group.x * params.stretch;
  let end = min(params.V, first + params.stretch);

  var top = LOWEST;
  for (var v = first + lane; v < end; v += LANES) { top = max(top, logits[row + v]); }
  shares[lane] = top;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { shares[lane] = max(shares[lane], shares[lane + half]); }
    workgroupBarrier();
  }
  top = shares[0];
  workgroupBarrier();
  var sum = 0.0;
  for (var v = first + lane; v < end; v += LANES) { sum += exp(logits[row + v] - top); }
  shares[lane] = sum;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { shares[lane] += shares[lane + half]; }
    workgroupBarrier();
  }
  if (lane == 0u) { sums[part] = vec2<f32>(top, shares[0]); }

  var last = 0.0;
  var last_id = NONE;
  for (var k = 0u; k < min(count[b], MOST); k++) {
    var value = LOWEST;
    var id = NONE;
    for (var v = first + lane; v < end; v += LANES) {
      let x = logits[row + v];
      if ((k == 0u || before(last, last_id, x, v)) && before(x, v, value, id)) { value = x; id = v; }
    }
    first_of_lanes(lane, value, id);
    last = first_values[0];
    last_id = first_ids[0];
    if (lane == 0u) {
      values[part * MOST + k] = last;
      ids[part * MOST + k] = last_id;
    }
    workgroupBarrier();
  }
}
