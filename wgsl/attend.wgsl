// y[t, h] = softmax_s(cap(q[t, h] . k[s, g] * scale)) . v[s, g] with g = h / (H / G), over the keys
// max(starts[t], p - window + 1) <= s <= p of the query's position p = position + t (window 0: starts[t] <= s <= p).
//   q [T, H, D]   k, v [capacity, G, D], position s in slot s % capacity   cursor [position, ...]   y [T, H, D]
//   starts [T], never decreasing, read where packed is 1; otherwise all start at 0   lse [T, H]
// or of B sequences of T tokens each: q, y [B, T, H, D]   k, v [B, capacity, G, D]   cursor [B or more, (position, ...)]
// lse [B, T, H]. One whose position is NONE is none: nothing is computed for it.
// cap(s) = softcap * tanh(s / softcap), or s where softcap is 0. lse is the logarithm of the sum of exp(cap(...)) over
// those keys, which the backward asks for.
// Where parts is more than 1 each takes a share of the keys, y is [parts, B, T, H, D] and lse [parts, B, T, H], LOWEST in
// parts without a key, and attend_combine.wgsl makes one of them.
// One workgroup per sequence, part and four queries of one kv head, so that a key is read once for the four: the heads that share it, then
// the next tokens'. Keys go by in blocks of 256: each lane scores four keys, then the lanes share out the columns (four to
// a lane) and, where D < 256, the keys of the block. The softmax is the online one of Milakov & Gimelshein
// (arXiv:1805.02867): the running maximum rescales what was summed before it.
// links lib/tanh.wgsl
// links lib/weight_*.wgsl as k
// links lib/weight_*.wgsl as v
const LANES = 64u;
const BLOCK = 256u;
const LOWEST = -3.0e38;
const NONE = 0xffffffffu;
struct Params {
  B: u32, T: u32, H: u32, G: u32, D4: u32, window: u32, capacity: u32, packed: u32, parts: u32, scale: f32, softcap: f32
}
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<KWord>;
@group(0) @binding(2) var<storage, read> v: array<VWord>;
@group(0) @binding(3) var<storage, read> cursor: array<u32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

// A component, or an array of four, is one query's.
var<workgroup> queries: array<vec4<f32>, 256>; // [4, D4]
var<workgroup> highs: array<vec4<f32>, LANES>;
var<workgroup> weights: array<vec4<f32>, BLOCK>; // [keys]; at the end the lanes' sums, [LANES, 4]

// The scores of one key, capped; LOWEST for the queries that do not see it.
fn masked(product: vec4<f32>, key: u32, first: vec4<u32>, position: vec4<u32>) -> vec4<f32> {
  var score = product;
  if (params.softcap != 0.0) {
    score = params.softcap * tanh4(product / params.softcap);
  }
  return select(vec4<f32>(LOWEST), score, (vec4<u32>(key) >= first) & (vec4<u32>(key) <= position));
}

fn weight(score: vec4<f32>, highest: vec4<f32>) -> vec4<f32> {
  return select(vec4<f32>(0.0), exp(score - highest), score > vec4<f32>(LOWEST));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let D4 = params.D4;
  let g = group.y;
  let sequence = group.z / params.parts;
  let part = group.z % params.parts;
  let start = cursor[sequence * 2u];
  if (start == NONE) { return; }
  let shared_by = params.H / params.G;
  let rows = params.T * shared_by; // queries of this kv head; row r is token r / shared_by, head r % shared_by
  let row = vec4<u32>(group.x * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
  let real = min(row, vec4<u32>(rows - 1u)); // rows past the end repeat the last; what they give is not stored
  let t = real / shared_by;
  let query = (sequence * params.T + t) * params.H + g * shared_by + real % shared_by;
  let at = query * D4; // of the query in q
  let position = vec4<u32>(start) + t;
  var first = vec4<u32>(0u);
  if (params.window > 0u) { first = max(position + 1u, vec4<u32>(params.window)) - params.window; }
  if (params.packed == 1u) { first = max(first, vec4<u32>(starts[t.x], starts[t.y], starts[t.z], starts[t.w])); }
  let begin = first.x; // tokens do not decrease from row to row
  let end = position.w;
  let capacity = params.capacity;
  let begin_slot = begin % capacity;
  let head = sequence * capacity * params.G + g; // of slot 0 in k and v, and every G from there
  let share = ((end - begin) / BLOCK + params.parts) / params.parts * BLOCK;
  let first_block = begin + part * share;
  let past = min(end + 1u, first_block + share); // of this part

  if (lane < D4) {
    queries[lane] = q[at.x + lane] * params.scale;
    queries[D4 + lane] = q[at.y + lane] * params.scale;
    queries[2u * D4 + lane] = q[at.z + lane] * params.scale;
    queries[3u * D4 + lane] = q[at.w + lane] * params.scale;
  }
  workgroupBarrier();

  let teams = LANES / D4; // groups of lanes that share out the keys of a block
  let team = lane / D4;
  let column = lane % D4;
  var highest = vec4<f32>(LOWEST);
  var total = vec4<f32>(0.0);
  var sum0 = vec4<f32>(0.0);
  var sum1 = vec4<f32>(0.0);
  var sum2 = vec4<f32>(0.0);
  var sum3 = vec4<f32>(0.0);
  for (var block = first_block; block < past; block += BLOCK) {
    let key = block + lane * 4u;
    var score0 = vec4<f32>(LOWEST);
    var score1 = vec4<f32>(LOWEST);
    var score2 = vec4<f32>(LOWEST);
    var score3 = vec4<f32>(LOWEST);
    if (key <= end) {
      // Keys past the end repeat the last; no query sees them.
      let slot = (vec4<u32>(begin_slot + key - begin) + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(end - key)));
      let at = (slot - select(vec4<u32>(0u), vec4<u32>(capacity), slot >= vec4<u32>(capacity))) * params.G + head;
      let row0 = k_row(at.x, D4);
      let row1 = k_row(at.y, D4);
      let row2 = k_row(at.z, D4);
      let row3 = k_row(at.w, D4);
      var product0 = vec4<f32>(0.0);
      var product1 = vec4<f32>(0.0);
      var product2 = vec4<f32>(0.0);
      var product3 = vec4<f32>(0.0);
      for (var d = 0u; d < D4; d++) {
        let q0 = queries[d];
        let q1 = queries[D4 + d];
        let q2 = queries[2u * D4 + d];
        let q3 = queries[3u * D4 + d];
        let k0 = k4(row0, d);
        let k1 = k4(row1, d);
        let k2 = k4(row2, d);
        let k3 = k4(row3, d);
        product0 += vec4<f32>(dot(k0, q0), dot(k0, q1), dot(k0, q2), dot(k0, q3));
        product1 += vec4<f32>(dot(k1, q0), dot(k1, q1), dot(k1, q2), dot(k1, q3));
        product2 += vec4<f32>(dot(k2, q0), dot(k2, q1), dot(k2, q2), dot(k2, q3));
        product3 += vec4<f32>(dot(k3, q0), dot(k3, q1), dot(k3, q2), dot(k3, q3));
      }
      score0 = masked(product0, key, first, position);
      score1 = masked(product1, key + 1u, first, position);
      score2 = masked(product2, key + 2u, first, position);
      score3 = masked(product3, key + 3u, first, position);
    }
    highs[lane] = max(max(score0, score1), max(score2, score3));
    workgroupBarrier();
    let before = highest;
    for (var i = 0u; i < LANES; i++) { highest = max(highest, highs[i]); }
    weights[lane * 4u] = weight(score0, highest);
    weights[lane * 4u + 1u] = weight(score1, highest);
    weights[lane * 4u + 2u] = weight(score2, highest);
    weights[lane * 4u + 3u] = weight(score3, highest);
    workgroupBarrier();
    let rescale = exp(before - highest);
    total *= rescale;
    sum0 *= rescale.x;
    sum1 *= rescale.y;
    sum2 *= rescale.z;
    sum3 *= rescale.w;
    if (team < teams) {
      let keys = min(BLOCK, end - block + 1u);
      for (var i = team; i < keys; i += teams) {
        var slot = begin_slot + (block - begin) + i;
        if (slot >= capacity) { slot -= capacity; }
        let x = v4(v_row(slot * params.G + head, D4), column);
        let w = weights[i];
        total += w;
        sum0 += w.x * x;
        sum1 += w.y * x;
        sum2 += w.z * x;
        sum3 += w.w * x;
      }
    }
  }
  workgroupBarrier();
  highs[lane] = total;
  weights[lane * 4u] = sum0;
  weights[lane * 4u + 1u] = sum1;
  weights[lane * 4u + 2u] = sum2;
  weights[lane * 4u + 3u] = sum3;
  workgroupBarrier();
  if (lane < D4) {
    for (var other = D4 + lane; other < teams * D4; other += D4) {
      total += highs[other];
      sum0 += weights[other * 4u];
      sum1 += weights[other * 4u + 1u];
      sum2 += weights[other * 4u + 2u];
      sum3 += weights[other * 4u + 3u];
    }
    let to = at + part * params.B * params.T * params.H * D4;
    y[to.x + lane] = sum0 / total.x;
    if (row.y < rows) { y[to.y + lane] = sum1 / total.y; }
    if (row.z < rows) { y[to.z + lane] = sum2 / total.z; }
    if (row.w < rows) { y[to.w + lane] = sum3 / total.w; }
  }
  if (lane == 0u) {
    let to = query + part * params.B * params.T * params.H;
    let sums = select(vec4<f32>(LOWEST), highest + log(total), total > vec4<f32>(0.0));
    lse[to.x] = sums.x;
    if (row.y < rows) { lse[to.y] = sums.y; }
    if (row.z < rows) { lse[to.z] = sums.z; }
    if (row.w < rows) { lse[to.w] = sums.w; }
  }
}
