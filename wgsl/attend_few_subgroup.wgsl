// attend.wgsl's sums of a few queries, where subgroups have four lanes or more: four of one kv head per workgroup, over at most
// 1024 keys.
//   q [B, T, H, D]   k, v [B, capacity, G, D], position s in slot s % capacity   cursor [B or more, (position, ...)]
//   starts [T], never decreasing, read where packed is 1; otherwise all start at 0
//   y [parts, B, T, H, D]   lse [parts, B, T, H]: of a part without a key lse is LOWEST, and y is not written
// Each of the parts takes whole blocks of 256 of the keys, and there must be so many that none takes more than 1024.
// On software adapters it is loads that cost, lane by lane, and whatever a loop keeps across a barrier, which then lies in memory. So
// what all lanes need is loaded by four lanes of a subgroup and broadcast, and no loop has a barrier: first come the scores of
// all keys, four to a lane and block, then what keys weigh, then the sums of values, four columns to a lane.
enable subgroups;
diagnostic(off, subgroup_uniformity); // what is not uniform around broadcasts is a condition of subgroupAny
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

// [keys], a component being a query's: scores, then what they weigh. In between lane l's highest scores lie in element 4 l.
var<workgroup> weights: array<vec4<f32>, 1024>; // 16 KiB: what every device has

// The keys of a sequence's kv head that a workgroup walks over, and where they lie.
struct Keys { begin: u32, end: u32, begin_slot: u32, head: u32 }

// Rows of k and v with four keys from one on. Keys past the end repeat the last; no query sees them.
fn rows_of(keys: Keys, key: u32) -> vec4<u32> {
  let slot = keys.begin_slot + min(vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(keys.end)) - keys.begin;
  let capacity = vec4<u32>(params.capacity);
  return (slot - select(vec4<u32>(0u), capacity, slot >= capacity)) * params.G + keys.head;
}

fn dots(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(dot(x, a), dot(x, b), dot(x, c), dot(x, d));
}

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
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) id: u32
) {
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
  let position = vec4<u32>(start) + t;
  var first = vec4<u32>(0u);
  if (params.window > 0u) { first = max(position + 1u, vec4<u32>(params.window)) - params.window; }
  if (params.packed == 1u) { first = max(first, vec4<u32>(starts[t.x], starts[t.y], starts[t.z], starts[t.w])); }
  // Tokens do not decrease from row to row.
  let keys = Keys(first.x, position.w, first.x % params.capacity, sequence * params.capacity * params.G + g);
  let share = ((keys.end - keys.begin) / BLOCK + params.parts) / params.parts * BLOCK;
  let first_block = keys.begin + part * share;
  let past = min(keys.end + 1u, first_block + share); // of this part

  let at = query[id % 4u] * D4; // of the query that this lane loads
  var highest = vec4<f32>(LOWEST);
  var kept = vec4<f32>(LOWEST); // the lane's first score, whose place its highest takes
  for (var block = first_block; block < past; block += BLOCK) {
    let key = block + lane * 4u;
    var score0 = vec4<f32>(LOWEST);
    var score1 = vec4<f32>(LOWEST);
    var score2 = vec4<f32>(LOWEST);
    var score3 = vec4<f32>(LOWEST);
    if (subgroupAny(key < past)) {
      let heads = rows_of(keys, key);
      let row0 = k_row(heads.x, D4);
      let row1 = k_row(heads.y, D4);
      let row2 = k_row(heads.z, D4);
      let row3 = k_row(heads.w, D4);
      var product0 = vec4<f32>(0.0);
      var product1 = vec4<f32>(0.0);
      var product2 = vec4<f32>(0.0);
      var product3 = vec4<f32>(0.0);
      for (var d = 0u; d < D4; d++) {
        var x: vec4<f32>;
        if (id < 4u) { x = q[at + d] * params.scale; }
        let q0 = subgroupBroadcast(x, 0u);
        let q1 = subgroupBroadcast(x, 1u);
        let q2 = subgroupBroadcast(x, 2u);
        let q3 = subgroupBroadcast(x, 3u);
        product0 += dots(k4(row0, d), q0, q1, q2, q3);
        product1 += dots(k4(row1, d), q0, q1, q2, q3);
        product2 += dots(k4(row2, d), q0, q1, q2, q3);
        product3 += dots(k4(row3, d), q0, q1, q2, q3);
      }
      score0 = masked(product0, key, first, position);
      score1 = masked(product1, key + 1u, first, position);
      score2 = masked(product2, key + 2u, first, position);
      score3 = masked(product3, key + 3u, first, position);
    }
    highest = max(highest, max(max(score0, score1), max(score2, score3)));
    if (block == first_block) { kept = score0; }
    let to = block - first_block + lane * 4u;
    weights[to] = score0;
    weights[to + 1u] = score1;
    weights[to + 2u] = score2;
    weights[to + 3u] = score3;
  }
  weights[lane * 4u] = highest;
  workgroupBarrier();
  for (var i = id % 4u; i < LANES; i += 4u) { highest = max(highest, weights[i * 4u]); }
  highest = max(
    max(subgroupBroadcast(highest, 0u), subgroupBroadcast(highest, 1u)),
    max(subgroupBroadcast(highest, 2u), subgroupBroadcast(highest, 3u)));
  workgroupBarrier();
  weights[lane * 4u] = kept;
  for (var block = first_block; block < past; block += BLOCK) {
    let to = block - first_block + lane * 4u;
    for (var i = to; i < to + 4u; i++) { weights[i] = weight(weights[i], highest); }
  }
  workgroupBarrier();

  var total = vec4<f32>(0.0); // in lane l of the first four, of every fourth key from key l on
  var sum0 = vec4<f32>(0.0);
  var sum1 = vec4<f32>(0.0);
  var sum2 = vec4<f32>(0.0);
  var sum3 = vec4<f32>(0.0);
  if (subgroupAny(lane < D4)) {
    let column = min(lane, D4 - 1u);
    for (var key = first_block; key < past; key += 4u) {
      let heads = rows_of(keys, key);
      let x0 = v4(v_row(heads.x, D4), column);
      let x1 = v4(v_row(heads.y, D4), column);
      let x2 = v4(v_row(heads.z, D4), column);
      let x3 = v4(v_row(heads.w, D4), column);
      let w = weights[key - first_block + id % 4u];
      let w0 = subgroupBroadcast(w, 0u);
      let w1 = subgroupBroadcast(w, 1u);
      let w2 = subgroupBroadcast(w, 2u);
      let w3 = subgroupBroadcast(w, 3u);
      total += w;
      sum0 += w0.x * x0 + w1.x * x1 + w2.x * x2 + w3.x * x3;
      sum1 += w0.y * x0 + w1.y * x1 + w2.y * x2 + w3.y * x3;
      sum2 += w0.z * x0 + w1.z * x1 + w2.z * x2 + w3.z * x3;
      sum3 += w0.w * x0 + w1.w * x1 + w2.w * x2 + w3.w * x3;
    }
  }
  total = subgroupBroadcast(total, 0u) + subgroupBroadcast(total, 1u) + subgroupBroadcast(total, 2u)
    + subgroupBroadcast(total, 3u);
  let to = query + part * params.B * params.T * params.H;
  if (lane < D4 && past > first_block) {
    y[to.x * D4 + lane] = sum0 / total.x;
    if (row.y < rows) { y[to.y * D4 + lane] = sum1 / total.y; }
    if (row.z < rows) { y[to.z * D4 + lane] = sum2 / total.z; }
    if (row.w < rows) { y[to.w * D4 + lane] = sum3 / total.w; }
  }
  if (lane == 0u) {
    let sums = select(vec4<f32>(LOWEST), highest + log(total), total > vec4<f32>(0.0));
    lse[to.x] = sums.x;
    if (row.y < rows) { lse[to.y] = sums.y; }
    if (row.z < rows) { lse[to.z] = sums.z; }
    if (row.w < rows) { lse[to.w] = sums.w; }
  }
}
