// attend.wgsl's sums, 16 queries of one kv head per workgroup, where subgroups have four lanes or more.
//   q [T, H, D]   k, v [capacity, G, D], position s in slot s % capacity   cursor [position, ...]   y [T, H, D]
//   starts [T], never decreasing, read where packed is 1; otherwise all start at 0   lse [T, H]
// On software adapters it is loads that cost, lane by lane. So a key or a value is loaded once for 16 queries, and what all
// lanes need is loaded by the first four lanes of a subgroup, a part each, and broadcast.
// A query is a row: row r of a kv head is token r / (H / G), head r % (H / G) of those that share it. Keys go by in blocks of
// 256: each lane scores four keys, then it sums a column of values, four wide, over the block.
enable subgroups;
diagnostic(off, subgroup_uniformity); // what is not uniform around broadcasts is a condition of subgroupAny
// links lib/tanh.wgsl
// links lib/weight_*.wgsl as k
// links lib/weight_*.wgsl as v
const LANES = 64u;
const BLOCK = 256u;
const ROWS = 16u;
const LOWEST = -3.0e38;
struct Params {
  T: u32, H: u32, G: u32, D4: u32, window: u32, capacity: u32, packed: u32, scale: f32, softcap: f32
}
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<KWord>;
@group(0) @binding(2) var<storage, read> v: array<VWord>;
@group(0) @binding(3) var<storage, read> cursor: array<u32>;
@group(0) @binding(4) var<storage, read> starts: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

// [keys, 4], a component being a row's; before that the lanes' highest scores, [LANES, 4], and then the highest of these, [4].
var<workgroup> weights: array<vec4<f32>, 1024>; // 16 KiB: what every device has

// Where the query of a row lies in [T, H]. Rows past the end repeat the last; what they give is not stored.
fn query(row: u32, g: u32) -> u32 {
  let shared_by = params.H / params.G;
  let real = min(row, params.T * shared_by - 1u);
  return real / shared_by * params.H + g * shared_by + real % shared_by;
}

// The first position that the query of a row sees, and its own.
fn visible(row: u32) -> vec2<u32> {
  let t = min(row / (params.H / params.G), params.T - 1u);
  let position = cursor[0] + t;
  var first = 0u;
  if (params.window > 0u) { first = max(position + 1u, params.window) - params.window; }
  if (params.packed == 1u) { first = max(first, starts[t]); }
  return vec2<u32>(first, position);
}

fn dots(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(dot(x, a), dot(x, b), dot(x, c), dot(x, d));
}

// The scores of four keys, capped; LOWEST for those that the query does not see.
fn masked(product: vec4<f32>, key: u32, sees: vec2<u32>) -> vec4<f32> {
  var score = product;
  if (params.softcap != 0.0) {
    score = params.softcap * tanh4(product / params.softcap);
  }
  let keys = vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u);
  return select(vec4<f32>(LOWEST), score, (keys >= vec4<u32>(sees.x)) & (keys <= vec4<u32>(sees.y)));
}

// The highest score of each of four rows.
fn highest_of(a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  let keys = transpose(mat4x4<f32>(a, b, c, d));
  return max(max(keys[0], keys[1]), max(keys[2], keys[3]));
}

fn weight(score: vec4<f32>, highest: f32) -> vec4<f32> {
  return select(vec4<f32>(0.0), exp(score - highest), score > vec4<f32>(LOWEST));
}

// Puts down what four keys weigh for four rows.
fn put(at: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, highest: vec4<f32>) {
  let keys = transpose(
    mat4x4<f32>(weight(a, highest.x), weight(b, highest.y), weight(c, highest.z), weight(d, highest.w)));
  weights[at] = keys[0];
  weights[at + 4u] = keys[1];
  weights[at + 8u] = keys[2];
  weights[at + 12u] = keys[3];
}

// Lane l's of four values.
fn pick(l: u32, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return select(select(a, b, l == 1u), select(c, d, l == 3u), l >= 2u);
}

fn store(row: u32, g: u32, column: u32, value: vec4<f32>) {
  if (row >= params.T * (params.H / params.G) || column >= params.D4) { return; }
  y[query(row, g) * params.D4 + column] = value;
}

fn store_lse(row: u32, g: u32, value: f32) {
  if (row >= params.T * (params.H / params.G)) { return; }
  lse[query(row, g)] = value;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) id: u32
) {
  let D4 = params.D4;
  let g = group.y;
  let row = group.x * ROWS;
  let capacity = params.capacity;
  let begin = visible(row).x; // tokens do not decrease from row to row
  let end = visible(row + ROWS - 1u).y;
  let begin_slot = begin % capacity;
  // Lane l of the first four stands for the rows l, 4 + l, 8 + l and 12 + l.
  let own = row + id % 4u;
  let at = vec4<u32>(query(own, g), query(own + 4u, g), query(own + 8u, g), query(own + 12u, g)) * D4;
  let sees0 = visible(own);
  let sees1 = visible(own + 4u);
  let sees2 = visible(own + 8u);
  let sees3 = visible(own + 12u);

  var highest0 = vec4<f32>(LOWEST); // of the rows 0 to 3, and so on
  var highest1 = vec4<f32>(LOWEST);
  var highest2 = vec4<f32>(LOWEST);
  var highest3 = vec4<f32>(LOWEST);
  var total = vec4<f32>(0.0); // in lane l of the first four, of the rows 4 l to 4 l + 3
  var sum0 = vec4<f32>(0.0);
  var sum1 = vec4<f32>(0.0);
  var sum2 = vec4<f32>(0.0);
  var sum3 = vec4<f32>(0.0);
  var sum4 = vec4<f32>(0.0);
  var sum5 = vec4<f32>(0.0);
  var sum6 = vec4<f32>(0.0);
  var sum7 = vec4<f32>(0.0);
  var sum8 = vec4<f32>(0.0);
  var sum9 = vec4<f32>(0.0);
  var sum10 = vec4<f32>(0.0);
  var sum11 = vec4<f32>(0.0);
  var sum12 = vec4<f32>(0.0);
  var sum13 = vec4<f32>(0.0);
  var sum14 = vec4<f32>(0.0);
  var sum15 = vec4<f32>(0.0);
  for (var block = begin; block <= end; block += BLOCK) {
    let key = block + lane * 4u;
    var score0 = vec4<f32>(LOWEST);
    var score1 = vec4<f32>(LOWEST);
    var score2 = vec4<f32>(LOWEST);
    var score3 = vec4<f32>(LOWEST);
    var score4 = vec4<f32>(LOWEST);
    var score5 = vec4<f32>(LOWEST);
    var score6 = vec4<f32>(LOWEST);
    var score7 = vec4<f32>(LOWEST);
    var score8 = vec4<f32>(LOWEST);
    var score9 = vec4<f32>(LOWEST);
    var score10 = vec4<f32>(LOWEST);
    var score11 = vec4<f32>(LOWEST);
    var score12 = vec4<f32>(LOWEST);
    var score13 = vec4<f32>(LOWEST);
    var score14 = vec4<f32>(LOWEST);
    var score15 = vec4<f32>(LOWEST);
    if (subgroupAny(key <= end)) {
      // Keys past the end repeat the last; no query sees them.
      let slot = begin_slot + min(vec4<u32>(key) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(end)) - begin;
      let head = (slot - select(vec4<u32>(0u), vec4<u32>(capacity), slot >= vec4<u32>(capacity))) * params.G + g;
      let row0 = k_row(head.x, D4);
      let row1 = k_row(head.y, D4);
      let row2 = k_row(head.z, D4);
      let row3 = k_row(head.w, D4);
      var product0 = vec4<f32>(0.0);
      var product1 = vec4<f32>(0.0);
      var product2 = vec4<f32>(0.0);
      var product3 = vec4<f32>(0.0);
      var product4 = vec4<f32>(0.0);
      var product5 = vec4<f32>(0.0);
      var product6 = vec4<f32>(0.0);
      var product7 = vec4<f32>(0.0);
      var product8 = vec4<f32>(0.0);
      var product9 = vec4<f32>(0.0);
      var product10 = vec4<f32>(0.0);
      var product11 = vec4<f32>(0.0);
      var product12 = vec4<f32>(0.0);
      var product13 = vec4<f32>(0.0);
      var product14 = vec4<f32>(0.0);
      var product15 = vec4<f32>(0.0);
      for (var d = 0u; d < D4; d++) {
        let k0 = k4(row0, d);
        let k1 = k4(row1, d);
        let k2 = k4(row2, d);
        let k3 = k4(row3, d);
        var q0: vec4<f32>;
        var q1: vec4<f32>;
        var q2: vec4<f32>;
        var q3: vec4<f32>;
        if (id < 4u) {
          q0 = q[at.x + d] * params.scale;
          q1 = q[at.y + d] * params.scale;
          q2 = q[at.z + d] * params.scale;
          q3 = q[at.w + d] * params.scale;
        }
        product0 += dots(subgroupBroadcast(q0, 0u), k0, k1, k2, k3);
        product1 += dots(subgroupBroadcast(q0, 1u), k0, k1, k2, k3);
        product2 += dots(subgroupBroadcast(q0, 2u), k0, k1, k2, k3);
        product3 += dots(subgroupBroadcast(q0, 3u), k0, k1, k2, k3);
        product4 += dots(subgroupBroadcast(q1, 0u), k0, k1, k2, k3);
        product5 += dots(subgroupBroadcast(q1, 1u), k0, k1, k2, k3);
        product6 += dots(subgroupBroadcast(q1, 2u), k0, k1, k2, k3);
        product7 += dots(subgroupBroadcast(q1, 3u), k0, k1, k2, k3);
        product8 += dots(subgroupBroadcast(q2, 0u), k0, k1, k2, k3);
        product9 += dots(subgroupBroadcast(q2, 1u), k0, k1, k2, k3);
        product10 += dots(subgroupBroadcast(q2, 2u), k0, k1, k2, k3);
        product11 += dots(subgroupBroadcast(q2, 3u), k0, k1, k2, k3);
        product12 += dots(subgroupBroadcast(q3, 0u), k0, k1, k2, k3);
        product13 += dots(subgroupBroadcast(q3, 1u), k0, k1, k2, k3);
        product14 += dots(subgroupBroadcast(q3, 2u), k0, k1, k2, k3);
        product15 += dots(subgroupBroadcast(q3, 3u), k0, k1, k2, k3);
      }
      score0 = masked(product0, key, subgroupBroadcast(sees0, 0u));
      score1 = masked(product1, key, subgroupBroadcast(sees0, 1u));
      score2 = masked(product2, key, subgroupBroadcast(sees0, 2u));
      score3 = masked(product3, key, subgroupBroadcast(sees0, 3u));
      score4 = masked(product4, key, subgroupBroadcast(sees1, 0u));
      score5 = masked(product5, key, subgroupBroadcast(sees1, 1u));
      score6 = masked(product6, key, subgroupBroadcast(sees1, 2u));
      score7 = masked(product7, key, subgroupBroadcast(sees1, 3u));
      score8 = masked(product8, key, subgroupBroadcast(sees2, 0u));
      score9 = masked(product9, key, subgroupBroadcast(sees2, 1u));
      score10 = masked(product10, key, subgroupBroadcast(sees2, 2u));
      score11 = masked(product11, key, subgroupBroadcast(sees2, 3u));
      score12 = masked(product12, key, subgroupBroadcast(sees3, 0u));
      score13 = masked(product13, key, subgroupBroadcast(sees3, 1u));
      score14 = masked(product14, key, subgroupBroadcast(sees3, 2u));
      score15 = masked(product15, key, subgroupBroadcast(sees3, 3u));
    }
    weights[lane * 4u] = highest_of(score0, score1, score2, score3);
    weights[lane * 4u + 1u] = highest_of(score4, score5, score6, score7);
    weights[lane * 4u + 2u] = highest_of(score8, score9, score10, score11);
    weights[lane * 4u + 3u] = highest_of(score12, score13, score14, score15);
    workgroupBarrier();
    if (lane < 4u) {
      var highest = weights[lane];
      for (var i = 1u; i < LANES; i++) { highest = max(highest, weights[i * 4u + lane]); }
      weights[LANES * 4u + lane] = highest;
    }
    workgroupBarrier();
    let before0 = highest0;
    let before1 = highest1;
    let before2 = highest2;
    let before3 = highest3;
    highest0 = max(before0, weights[LANES * 4u]);
    highest1 = max(before1, weights[LANES * 4u + 1u]);
    highest2 = max(before2, weights[LANES * 4u + 2u]);
    highest3 = max(before3, weights[LANES * 4u + 3u]);
    workgroupBarrier();
    put(lane * 16u, score0, score1, score2, score3, highest0);
    put(lane * 16u + 1u, score4, score5, score6, score7, highest1);
    put(lane * 16u + 2u, score8, score9, score10, score11, highest2);
    put(lane * 16u + 3u, score12, score13, score14, score15, highest3);
    let rescale0 = exp(before0 - highest0);
    let rescale1 = exp(before1 - highest1);
    let rescale2 = exp(before2 - highest2);
    let rescale3 = exp(before3 - highest3);
    total *= pick(id, rescale0, rescale1, rescale2, rescale3);
    sum0 *= rescale0.x;
    sum1 *= rescale0.y;
    sum2 *= rescale0.z;
    sum3 *= rescale0.w;
    sum4 *= rescale1.x;
    sum5 *= rescale1.y;
    sum6 *= rescale1.z;
    sum7 *= rescale1.w;
    sum8 *= rescale2.x;
    sum9 *= rescale2.y;
    sum10 *= rescale2.z;
    sum11 *= rescale2.w;
    sum12 *= rescale3.x;
    sum13 *= rescale3.y;
    sum14 *= rescale3.z;
    sum15 *= rescale3.w;
    workgroupBarrier();
    if (subgroupAny(lane < D4)) {
      let column = min(lane, D4 - 1u);
      let keys = min(BLOCK, end - block + 1u);
      for (var i = 0u; i < keys; i++) {
        var slot = begin_slot + (block - begin) + i;
        if (slot >= capacity) { slot -= capacity; }
        let x = v4(v_row(slot * params.G + g, D4), column);
        var w: vec4<f32>;
        if (id < 4u) { w = weights[i * 4u + id]; }
        total += w;
        let w0 = subgroupBroadcast(w, 0u);
        let w1 = subgroupBroadcast(w, 1u);
        let w2 = subgroupBroadcast(w, 2u);
        let w3 = subgroupBroadcast(w, 3u);
        sum0 += w0.x * x;
        sum1 += w0.y * x;
        sum2 += w0.z * x;
        sum3 += w0.w * x;
        sum4 += w1.x * x;
        sum5 += w1.y * x;
        sum6 += w1.z * x;
        sum7 += w1.w * x;
        sum8 += w2.x * x;
        sum9 += w2.y * x;
        sum10 += w2.z * x;
        sum11 += w2.w * x;
        sum12 += w3.x * x;
        sum13 += w3.y * x;
        sum14 += w3.z * x;
        sum15 += w3.w * x;
      }
    }
    workgroupBarrier();
  }
  let total0 = subgroupBroadcast(total, 0u);
  let total1 = subgroupBroadcast(total, 1u);
  let total2 = subgroupBroadcast(total, 2u);
  let total3 = subgroupBroadcast(total, 3u);
  store(row, g, lane, sum0 / total0.x);
  store(row + 1u, g, lane, sum1 / total0.y);
  store(row + 2u, g, lane, sum2 / total0.z);
  store(row + 3u, g, lane, sum3 / total0.w);
  store(row + 4u, g, lane, sum4 / total1.x);
  store(row + 5u, g, lane, sum5 / total1.y);
  store(row + 6u, g, lane, sum6 / total1.z);
  store(row + 7u, g, lane, sum7 / total1.w);
  store(row + 8u, g, lane, sum8 / total2.x);
  store(row + 9u, g, lane, sum9 / total2.y);
  store(row + 10u, g, lane, sum10 / total2.z);
  store(row + 11u, g, lane, sum11 / total2.w);
  store(row + 12u, g, lane, sum12 / total3.x);
  store(row + 13u, g, lane, sum13 / total3.y);
  store(row + 14u, g, lane, sum14 / total3.z);
  store(row + 15u, g, lane, sum15 / total3.w);
  if (subgroupAny(lane == 0u) && id < 4u) {
    let sums = pick(id, highest0, highest1, highest2, highest3) + log(total);
    for (var i = 0u; i < 4u; i++) { store_lse(row + id * 4u + i, g, sums[i]); }
  }
}
