// dk[s, g] = scale * sum of ds * q[t, h] and dv[s, g] = sum of p * dy[t, h] over the queries (t, h) of the heads that share
// kv head g that see s, with p and ds of the query and s as in attend_backward_query.wgsl.
//   k, v, dk, dv [capacity, G, D], position s in slot s   q, dy [T, H, D]   stats [T, H, 2], of (lse, delta)
//   starts [T], read where packed is 1
// One workgroup per four keys of one kv head, walking over the queries from their own tokens to the last that sees one of
// them. These go by in blocks of 256: each lane finds p and ds of four queries, then the lanes share out the columns and,
// where D < 256, the queries of the block. Keys that nothing sees, as those of unwritten slots, get 0.
// links lib/tanh.wgsl
const LANES = 64u;
const BLOCK = 256u;
struct Params {
  T: u32, H: u32, G: u32, D4: u32, window: u32, capacity: u32, packed: u32, scale: f32, softcap: f32
}
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> starts: array<u32>;
@group(0) @binding(6) var<storage, read_write> dk: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dv: array<vec4<f32>>;
@group(0) @binding(8) var<uniform> params: Params;

// A component, or an array of four, is one key's. 16 KiB in all: what every device has.
var<workgroup> keys: array<vec4<f32>, 256>; // [4, D4]; at the end the lanes' sums for dk, [LANES, 4]
var<workgroup> values: array<vec4<f32>, 256>; // [4, D4]; at the end those for dv
var<workgroup> weights: array<vec4<f32>, BLOCK>; // [queries], p
var<workgroup> slopes: array<vec4<f32>, BLOCK>; // [queries], ds

// Puts down p and ds of a query of token t, from q . k * scale and dy . v of the four keys; 0 for those that it does not see.
fn weigh(i: u32, product: vec4<f32>, gain: vec4<f32>, stat: vec2<f32>, t: u32, key: vec4<u32>) {
  var score = product;
  var through = vec4<f32>(1.0); // the cap
  if (params.softcap != 0.0) {
    let capped = tanh4(product / params.softcap);
    score = params.softcap * capped;
    through = 1.0 - capped * capped;
  }
  var first = 0u;
  if (params.window > 0u) { first = max(t + 1u, params.window) - params.window; }
  if (params.packed == 1u) { first = max(first, starts[t]); }
  let seen = (key >= vec4<u32>(first)) & (key <= vec4<u32>(t));
  let p = exp(score - stat.x);
  weights[i] = select(vec4<f32>(0.0), p, seen);
  slopes[i] = select(vec4<f32>(0.0), p * (gain - stat.y) * through, seen);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let D4 = params.D4;
  let g = group.y;
  let shared_by = params.H / params.G;
  let key = vec4<u32>(group.x * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
  let at = (min(key, vec4<u32>(params.capacity - 1u)) * params.G + g) * D4; // keys past the end are not stored

  // The tokens that see one of the keys: up to the window of the last key and before the documents that start after it.
  var end = params.T;
  if (params.window > 0u) { end = min(end, key.w + params.window); }
  if (params.packed == 1u) {
    for (var low = key.x; low < end;) {
      let middle = (low + end) / 2u;
      if (starts[middle] <= key.w) { low = middle + 1u; } else { end = middle; }
    }
  }
  // Queries in the order of rows: row r is token r / shared_by, head r % shared_by of the kv head.
  let end_row = end * shared_by;

  if (lane < D4) {
    keys[lane] = k[at.x + lane];
    keys[D4 + lane] = k[at.y + lane];
    keys[2u * D4 + lane] = k[at.z + lane];
    keys[3u * D4 + lane] = k[at.w + lane];
    values[lane] = v[at.x + lane];
    values[D4 + lane] = v[at.y + lane];
    values[2u * D4 + lane] = v[at.z + lane];
    values[3u * D4 + lane] = v[at.w + lane];
  }

  let parts = LANES / D4; // groups of lanes that share out the queries of a block
  let part = lane / D4;
  let column = lane % D4;
  var dk0 = vec4<f32>(0.0);
  var dk1 = vec4<f32>(0.0);
  var dk2 = vec4<f32>(0.0);
  var dk3 = vec4<f32>(0.0);
  var dv0 = vec4<f32>(0.0);
  var dv1 = vec4<f32>(0.0);
  var dv2 = vec4<f32>(0.0);
  var dv3 = vec4<f32>(0.0);
  for (var block = key.x * shared_by; block < end_row; block += BLOCK) {
    workgroupBarrier(); // what was loaded is there, and the weights of the block before are used
    let i = lane * 4u;
    if (block + i < end_row) {
      // Rows past the end repeat the last; what they give is not used.
      let row = min(vec4<u32>(block + i) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(end_row - 1u));
      let t = row / shared_by;
      let query = t * params.H + g * shared_by + row % shared_by;
      let base = query * D4;
      var product0 = vec4<f32>(0.0);
      var product1 = vec4<f32>(0.0);
      var product2 = vec4<f32>(0.0);
      var product3 = vec4<f32>(0.0);
      var gain0 = vec4<f32>(0.0);
      var gain1 = vec4<f32>(0.0);
      var gain2 = vec4<f32>(0.0);
      var gain3 = vec4<f32>(0.0);
      for (var d = 0u; d < D4; d++) {
        let k0 = keys[d];
        let k1 = keys[D4 + d];
        let k2 = keys[2u * D4 + d];
        let k3 = keys[3u * D4 + d];
        // Scaled before the product as in attend.wgsl, so that lse belongs to the very same scores.
        let q0 = q[base.x + d] * params.scale;
        let q1 = q[base.y + d] * params.scale;
        let q2 = q[base.z + d] * params.scale;
        let q3 = q[base.w + d] * params.scale;
        product0 += vec4<f32>(dot(q0, k0), dot(q0, k1), dot(q0, k2), dot(q0, k3));
        product1 += vec4<f32>(dot(q1, k0), dot(q1, k1), dot(q1, k2), dot(q1, k3));
        product2 += vec4<f32>(dot(q2, k0), dot(q2, k1), dot(q2, k2), dot(q2, k3));
        product3 += vec4<f32>(dot(q3, k0), dot(q3, k1), dot(q3, k2), dot(q3, k3));
        let v0 = values[d];
        let v1 = values[D4 + d];
        let v2 = values[2u * D4 + d];
        let v3 = values[3u * D4 + d];
        let dy0 = dy[base.x + d];
        let dy1 = dy[base.y + d];
        let dy2 = dy[base.z + d];
        let dy3 = dy[base.w + d];
        gain0 += vec4<f32>(dot(dy0, v0), dot(dy0, v1), dot(dy0, v2), dot(dy0, v3));
        gain1 += vec4<f32>(dot(dy1, v0), dot(dy1, v1), dot(dy1, v2), dot(dy1, v3));
        gain2 += vec4<f32>(dot(dy2, v0), dot(dy2, v1), dot(dy2, v2), dot(dy2, v3));
        gain3 += vec4<f32>(dot(dy3, v0), dot(dy3, v1), dot(dy3, v2), dot(dy3, v3));
      }
      weigh(i, product0, gain0, stats[query.x], t.x, key);
      weigh(i + 1u, product1, gain1, stats[query.y], t.y, key);
      weigh(i + 2u, product2, gain2, stats[query.z], t.z, key);
      weigh(i + 3u, product3, gain3, stats[query.w], t.w, key);
    }
    workgroupBarrier();
    if (part < parts) {
      let count = min(BLOCK, end_row - block);
      for (var i = part; i < count; i += parts) {
        let row = block + i;
        let base = (row / shared_by * params.H + g * shared_by + row % shared_by) * D4 + column;
        let x = q[base];
        let dx = dy[base];
        let ds = slopes[i];
        let p = weights[i];
        dk0 += ds.x * x;
        dk1 += ds.y * x;
        dk2 += ds.z * x;
        dk3 += ds.w * x;
        dv0 += p.x * dx;
        dv1 += p.y * dx;
        dv2 += p.z * dx;
        dv3 += p.w * dx;
      }
    }
  }
  workgroupBarrier();
  keys[lane * 4u] = dk0;
  keys[lane * 4u + 1u] = dk1;
  keys[lane * 4u + 2u] = dk2;
  keys[lane * 4u + 3u] = dk3;
  values[lane * 4u] = dv0;
  values[lane * 4u + 1u] = dv1;
  values[lane * 4u + 2u] = dv2;
  values[lane * 4u + 3u] = dv3;
  workgroupBarrier();
  if (lane < D4) {
    for (var other = D4 + lane; other < parts * D4; other += D4) {
      dk0 += keys[other * 4u];
      dk1 += keys[other * 4u + 1u];
      dk2 += keys[other * 4u + 2u];
      dk3 += keys[other * 4u + 3u];
      dv0 += values[other * 4u];
      dv1 += values[other * 4u + 1u];
      dv2 += values[other * 4u + 2u];
      dv3 += values[other * 4u + 3u];
    }
    dk[at.x + lane] = dk0 * params.scale;
    dv[at.x + lane] = dv0;
    if (key.y < params.capacity) { dk[at.y + lane] = dk1 * params.scale; dv[at.y + lane] = dv1; }
    if (key.z < params.capacity) { dk[at.z + lane] = dk2 * params.scale; dv[at.z + lane] = dv2; }
    if (key.w < params.capacity) { dk[at.w + lane] = dk3 * params.scale; dv[at.w + lane] = dv3; }
  }
}
