// weights[t, s] = softmax_s(cap(q[t, head] . k[s, g] * scale)) with g = head / (H / G), over the keys max(0, p - window + 1) <= s <= p
// of the query's position p = cursor[0] + t (window 0: 0 <= s <= p), and 0 for all other s: what attend multiplies values with.
//   q [T, H, D]   k [capacity, G, D], position s in slot s % capacity   cursor [position, ...]   weights [rows, S], of the tokens
//   from `first` on
// cap(s) = softcap * tanh(s / softcap), or s where softcap is 0.
// One workgroup per row. Each lane leaves its scores where their weights will be; the softmax is the online one of Milakov &
// Gimelshein (arXiv:1805.02867).
// links lib/tanh.wgsl
// links lib/weight_*.wgsl as k
const LANES = 64u;
const LOWEST = -3.0e38;
struct Params {
  S: u32, H: u32, G: u32, D4: u32, head: u32, first: u32, window: u32, capacity: u32, scale: f32, softcap: f32
}
@group(0) @binding(0) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> k: array<KWord>;
@group(0) @binding(2) var<storage, read> cursor: array<u32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> query: array<vec4<f32>, LANES>; // [D4]
var<workgroup> highs: array<f32, LANES>;
var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let D4 = params.D4;
  let t = params.first + group.x;
  let position = cursor[0] + t;
  let row = group.x * params.S;
  let g = params.head / (params.H / params.G);
  var begin = 0u;
  if (params.window > 0u) { begin = max(position + 1u, params.window) - params.window; }

  if (lane < D4) { query[lane] = q[(t * params.H + params.head) * D4 + lane] * params.scale; }
  workgroupBarrier();

  var highest = LOWEST;
  var sum = 0.0;
  for (var s = lane; s < params.S; s += LANES) {
    if (s < begin || s > position) { continue; }
    let key = k_row(s % params.capacity * params.G + g, D4);
    var score = 0.0;
    for (var d = 0u; d < D4; d++) { score += dot(query[d], k4(key, d)); }
    if (params.softcap != 0.0) { score = params.softcap * tanh1(score / params.softcap); }
    weights[row + s] = score;
    let e = exp(-abs(score - highest));
    sum = select(sum + e, sum * e + 1.0, score > highest);
    highest = max(highest, score);
  }
  highs[lane] = highest;
  sums[lane] = sum;
  workgroupBarrier();
  for (var i = 0u; i < LANES; i++) { highest = max(highest, highs[i]); }
  sum = 0.0;
  for (var i = 0u; i < LANES; i++) { sum += sums[i] * exp(highs[i] - highest); }
  for (var s = lane; s < params.S; s += LANES) {
    if (s < begin || s > position) {
      weights[row + s] = 0.0;
    } else {
      weights[row + s] = exp(weights[row + s] - highest) / sum;
    }
  }
}
