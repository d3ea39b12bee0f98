// dq[t, h] = scale * sum over the visible s of ds[s] * k[s, g], where for the query's row (g, cap, first and last s as in
// attend.wgsl, position 0)
//   score[s] = cap(q[t, h] . k[s, g] * scale)   p[s] = exp(score[s] - lse)
//   ds[s] = p[s] * (dy[t, h] . v[s, g] - delta) * cap'   with cap' = 1 - (score[s] / softcap)^2, or 1
//   q, dy, dq [T, H, D]   k, v [capacity, G, D], position s in slot s   stats [T, H, 2], of (lse, delta)
//   starts [T], read where packed is 1
// One workgroup per four queries of one kv head, walking over their keys as attend.wgsl does: each lane finds ds of four
// keys, then the lanes share out the columns and, where D < 256, the keys of the block.
// links lib/tanh.wgsl
const LANES = 64u;
const BLOCK = 256u;
struct Params { T: u32, H: u32, G: u32, D4: u32, window: u32, packed: u32, scale: f32, softcap: f32 }
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> stats: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read> starts: array<u32>;
@group(0) @binding(6) var<storage, read_write> dq: array<vec4<f32>>;
@group(0) @binding(7) var<uniform> params: Params;

// A component, or an array of four, is one query's.
var<workgroup> queries: array<vec4<f32>, 256>; // [4, D4], scaled
var<workgroup> gradients: array<vec4<f32>, 256>; // [4, D4], of the results
var<workgroup> slopes: array<vec4<f32>, BLOCK>; // [keys], ds; at the end the lanes' sums, [LANES, 4]

struct Rows { first: vec4<u32>, last: vec4<u32>, lse: vec4<f32>, delta: vec4<f32> }

// ds of one key, from q . k * scale and dy . v of the four queries; 0 for those that do not see it.
fn slope(product: vec4<f32>, gain: vec4<f32>, key: u32, rows: Rows) -> vec4<f32> {
  var score = product;
  var through = vec4<f32>(1.0); // the cap
  if (params.softcap != 0.0) {
    let capped = tanh4(product / params.softcap);
    score = params.softcap * capped;
    through = 1.0 - capped * capped;
  }
  let ds = exp(score - rows.lse) * (gain - rows.delta) * through;
  return select(vec4<f32>(0.0), ds, (vec4<u32>(key) >= rows.first) & (vec4<u32>(key) <= rows.last));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let D4 = params.D4;
  let g = group.y;
  let shared_by = params.H / params.G;
  let rows = params.T * shared_by; // queries of this kv head; row r is token r / shared_by, head r % shared_by
  let row = vec4<u32>(group.x * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
  let real = min(row, vec4<u32>(rows - 1u)); // rows past the end repeat the last; what they give is not stored
  let t = real / shared_by;
  let query = t * params.H + g * shared_by + real % shared_by;
  let at = query * D4;
  var first = vec4<u32>(0u);
  if (params.window > 0u) { first = max(t + 1u, vec4<u32>(params.window)) - params.window; }
  if (params.packed == 1u) { first = max(first, vec4<u32>(starts[t.x], starts[t.y], starts[t.z], starts[t.w])); }
  let begin = first.x; // tokens do not decrease from row to row
  let end = t.w;
  let stride = params.G * D4; // from one position to the next
  let stat0 = stats[query.x];
  let stat1 = stats[query.y];
  let stat2 = stats[query.z];
  let stat3 = stats[query.w];
  let lse = vec4<f32>(stat0.x, stat1.x, stat2.x, stat3.x);
  let delta = vec4<f32>(stat0.y, stat1.y, stat2.y, stat3.y);
  let four = Rows(first, t, lse, delta);

  if (lane < D4) {
    queries[lane] = q[at.x + lane] * params.scale;
    queries[D4 + lane] = q[at.y + lane] * params.scale;
    queries[2u * D4 + lane] = q[at.z + lane] * params.scale;
    queries[3u * D4 + lane] = q[at.w + lane] * params.scale;
    gradients[lane] = dy[at.x + lane];
    gradients[D4 + lane] = dy[at.y + lane];
    gradients[2u * D4 + lane] = dy[at.z + lane];
    gradients[3u * D4 + lane] = dy[at.w + lane];
  }

  let parts = LANES / D4; // groups of lanes that share out the keys of a block
  let part = lane / D4;
  let column = lane % D4;
  var sum0 = vec4<f32>(0.0);
  var sum1 = vec4<f32>(0.0);
  var sum2 = vec4<f32>(0.0);
  var sum3 = vec4<f32>(0.0);
  for (var block = begin; block <= end; block += BLOCK) {
    workgroupBarrier(); // what was loaded is there, and the slopes of the block before are used
    let key = block + lane * 4u;
    if (key <= end) {
      // Keys past the end repeat the last; no query sees them.
      let base = (vec4<u32>(key) + min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(end - key))) * stride + g * D4;
      var product0 = vec4<f32>(0.0);
      var product1 = vec4<f32>(0.0);
      var product2 = vec4<f32>(0.0);
      var product3 = vec4<f32>(0.0);
      var gain0 = vec4<f32>(0.0);
      var gain1 = vec4<f32>(0.0);
      var gain2 = vec4<f32>(0.0);
      var gain3 = vec4<f32>(0.0);
      for (var d = 0u; d < D4; d++) {
        let q0 = queries[d];
        let q1 = queries[D4 + d];
        let q2 = queries[2u * D4 + d];
        let q3 = queries[3u * D4 + d];
        let k0 = k[base.x + d];
        let k1 = k[base.y + d];
        let k2 = k[base.z + d];
        let k3 = k[base.w + d];
        product0 += vec4<f32>(dot(k0, q0), dot(k0, q1), dot(k0, q2), dot(k0, q3));
        product1 += vec4<f32>(dot(k1, q0), dot(k1, q1), dot(k1, q2), dot(k1, q3));
        product2 += vec4<f32>(dot(k2, q0), dot(k2, q1), dot(k2, q2), dot(k2, q3));
        product3 += vec4<f32>(dot(k3, q0), dot(k3, q1), dot(k3, q2), dot(k3, q3));
        let dy0 = gradients[d];
        let dy1 = gradients[D4 + d];
        let dy2 = gradients[2u * D4 + d];
        let dy3 = gradients[3u * D4 + d];
        let v0 = v[base.x + d];
        let v1 = v[base.y + d];
        let v2 = v[base.z + d];
        let v3 = v[base.w + d];
        gain0 += vec4<f32>(dot(v0, dy0), dot(v0, dy1), dot(v0, dy2), dot(v0, dy3));
        gain1 += vec4<f32>(dot(v1, dy0), dot(v1, dy1), dot(v1, dy2), dot(v1, dy3));
        gain2 += vec4<f32>(dot(v2, dy0), dot(v2, dy1), dot(v2, dy2), dot(v2, dy3));
        gain3 += vec4<f32>(dot(v3, dy0), dot(v3, dy1), dot(v3, dy2), dot(v3, dy3));
      }
      slopes[lane * 4u] = slope(product0, gain0, key, four);
      slopes[lane * 4u + 1u] = slope(product1, gain1, key + 1u, four);
      slopes[lane * 4u + 2u] = slope(product2, gain2, key + 2u, four);
      slopes[lane * 4u + 3u] = slope(product3, gain3, key + 3u, four);
    }
    workgroupBarrier();
    if (part < parts) {
      let keys = min(BLOCK, end - block + 1u);
      for (var i = part; i < keys; i += parts) {
        let x = k[(block + i) * stride + g * D4 + column];
        let ds = slopes[i];
        sum0 += ds.x * x;
        sum1 += ds.y * x;
        sum2 += ds.z * x;
        sum3 += ds.w * x;
      }
    }
  }
  workgroupBarrier();
  slopes[lane * 4u] = sum0;
  slopes[lane * 4u + 1u] = sum1;
  slopes[lane * 4u + 2u] = sum2;
  slopes[lane * 4u + 3u] = sum3;
  workgroupBarrier();
  if (lane < D4) {
    for (var other = D4 + lane; other < parts * D4; other += D4) {
      sum0 += slopes[other * 4u];
      sum1 += slopes[other * 4u + 1u];
      sum2 += slopes[other * 4u + 2u];
      sum3 += slopes[other * 4u + 3u];
    }
    dq[at.x + lane] = sum0 * params.scale;
    if (row.y < rows) { dq[at.y + lane] = sum1 * params.scale; }
    if (row.z < rows) { dq[at.z + lane] = sum2 * params.scale; }
    if (row.w < rows) { dq[at.w + lane] = sum3 * params.scale; }
  }
}
