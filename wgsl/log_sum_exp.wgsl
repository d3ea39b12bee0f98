// scores[t] = (max_v a, sum_v exp((a - max a) / temperature)), a = capped(logits), capped(l) = cap * tanh(l / cap), or l
// where cap is 0. Logits of LOWEST or less are not there: see drop_logits. One workgroup per row.
//   logits [T, V]   scores [T, 2]
// The vocabulary may come in blocks, one dispatch after the other: this one's logits are those of tokens
// [first, first + V). scores are those of the blocks so far, and after the last of all.
// links lib/tanh.wgsl
const LANES = 64u;
const LOWEST = -3.0e38;
struct Params { V: u32, first: u32, cap: f32, temperature: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> scores: array<vec2<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> parts: array<vec2<f32>, LANES>;

fn capped(x: f32) -> f32 {
  if (params.cap == 0.0) { return x; }
  return params.cap * tanh1(x / params.cap);
}

fn joined(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
  let top = max(a.x, b.x);
  let sum = a.y * exp((a.x - top) / params.temperature) + b.y * exp((b.x - top) / params.temperature);
  return vec2<f32>(top, sum);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  // In one walk: where a higher logit comes, the sum so far shrinks to it.
  var top = LOWEST;
  var sum = 0.0;
  for (var v = lane; v < params.V; v += LANES) {
    let l = logits[t * params.V + v];
    if (l <= LOWEST) { continue; }
    let a = capped(l);
    let e = exp(-abs(a - top) / params.temperature);
    sum = select(sum + e, sum * e + 1.0, a > top);
    top = max(top, a);
  }
  parts[lane] = vec2<f32>(top, sum);
  workgroupBarrier();
  // In pairs: the order loses least.
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { parts[lane] = joined(parts[lane], parts[lane + half]); }
    workgroupBarrier();
  }
  if (lane != 0u) { return; }
  if (params.first > 0u) { scores[t] = joined(scores[t], parts[0]); } else { scores[t] = parts[0]; }
}
