// y[t, h] = softmax_s(cap(q[t, h] . k[s, g] * scale)) . v[s, g] with g = h / (H / G), over the keys
// max(0, p - window + 1) <= s <= p of the query's position p = position + t (window 0: all s <= p).
//   q [T, H, D]   k, v [capacity, G, D], position s in slot s % capacity   cursor [position, ...]   y [T, H, D]
// cap(s) = softcap * tanh(s / softcap), or s where softcap is 0.
// One workgroup per head and token. Blocks of 64 keys: each lane scores one key, then the lanes share out the columns
// (four to a lane) and, where D < 256, the keys of the block. The softmax is the online one of Milakov & Gimelshein
// (arXiv:1805.02867): the running maximum rescales what was summed before it.
const LANES = 64u;
const LOWEST = -3.0e38;
struct Params { H: u32, G: u32, D4: u32, window: u32, capacity: u32, scale: f32, softcap: f32 }
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> cursor: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> query: array<vec4<f32>, LANES>;
var<workgroup> scores: array<f32, LANES>;
var<workgroup> weights: array<f32, LANES>;
var<workgroup> columns: array<vec4<f32>, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let h = group.x;
  let t = group.y;
  let D4 = params.D4;
  let g = h / (params.H / params.G);
  let position = cursor[0] + t;
  var first = 0u;
  if (params.window > 0u && position + 1u > params.window) { first = position + 1u - params.window; }
  let first_slot = first % params.capacity;
  let stride = params.G * D4; // from one slot to the next

  if (lane < D4) { query[lane] = q[(t * params.H + h) * D4 + lane] * params.scale; }
  workgroupBarrier();

  let parts = LANES / D4; // groups of lanes that share out the keys of a block
  let part = lane / D4;
  let column = lane % D4;
  var highest = LOWEST;
  var total = 0.0;
  var sum = vec4<f32>(0.0);
  for (var block = first; block <= position; block += LANES) {
    var score = LOWEST;
    if (block + lane <= position) {
      var slot = first_slot + (block - first) + lane;
      if (slot >= params.capacity) { slot -= params.capacity; }
      let row = slot * stride + g * D4;
      var product = 0.0;
      for (var d = 0u; d < D4; d++) { product += dot(query[d], k[row + d]); }
      score = product;
      if (params.softcap > 0.0) {
        score = params.softcap * tanh(clamp(product / params.softcap, -15.0, 15.0));
      }
    }
    scores[lane] = score;
    workgroupBarrier();
    let before = highest;
    for (var i = 0u; i < LANES; i++) { highest = max(highest, scores[i]); }
    weights[lane] = select(0.0, exp(score - highest), block + lane <= position);
    workgroupBarrier();
    let rescale = exp(before - highest);
    total *= rescale;
    sum *= rescale;
    if (part < parts) {
      let keys = min(LANES, position - block + 1u);
      for (var i = part; i < keys; i += parts) {
        var slot = first_slot + (block - first) + i;
        if (slot >= params.capacity) { slot -= params.capacity; }
        total += weights[i];
        sum += weights[i] * v[slot * stride + g * D4 + column];
      }
    }
  }
  workgroupBarrier();
  columns[lane] = sum;
  scores[lane] = total;
  workgroupBarrier();
  if (lane < D4) {
    for (var i = 1u; i < parts; i++) {
      sum += columns[i * D4 + lane];
      total += scores[i * D4 + lane];
    }
    y[(t * params.H + h) * D4 + lane] = sum / total;
  }
}
