// loss[t] = forward * KL(p || m) + reverse * KL(q || m), m = beta p + (1 - beta) q, with p and q as in distill: the
// generalised Jensen-Shannon divergence (arXiv:2306.13649, section 2) for forward = beta and reverse = 1 - beta.
// 0 where the target is IGNORED. One workgroup per row.
//   student [T, V]   teacher [T, shift + V]   targets [T]   scores [T, 6] of distill, after the last block
//   sums [T, (KL(p || m), KL(q || m))]   loss [T]
// The vocabulary may come in blocks, as in distill.
// links lib/tanh.wgsl
const LANES = 64u;
const FLOOR = -1.0e30;
const IGNORED = 0xffffffffu;
struct Params {
  V: u32, first: u32, shift: u32, cap: f32, teacher_cap: f32, temperature: f32, beta: f32, forward: f32, reverse: f32
}
struct Scores { top: f32, sum: f32, teacher_top: f32, teacher_sum: f32, forward: f32, reverse: f32 }
@group(0) @binding(0) var<storage, read> student: array<f32>;
@group(0) @binding(1) var<storage, read> teacher: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> scores: array<Scores>;
@group(0) @binding(4) var<storage, read_write> sums: array<vec2<f32>>;
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> parts: array<vec2<f32>, LANES>;

fn capped(x: f32, cap: f32) -> f32 {
  if (cap == 0.0) { return x; }
  return cap * tanh1(x / cap);
}

// log(1 + y): WGSL's log may err by 2^-21 near 1, so there by the series of 2 atanh(y / (2 + y)).
fn log1p(y: f32) -> f32 {
  let s = y / (2.0 + y);
  let ss = s * s;
  let series = 2.0 * s * (1.0 + ss * (0.33333333 + ss * (0.2 + ss * 0.14285714)));
  return select(log(1.0 + y), series, abs(y) < 0.25);
}

// (log m - log q, log m - log p), where d = log p - log q.
fn mixture(d: f32) -> vec2<f32> {
  let e = exp(-abs(d)) - 1.0;
  if (d <= 0.0) {
    let l = log1p(params.beta * e);
    return vec2<f32>(l, l - d);
  }
  let l = log1p((1.0 - params.beta) * e);
  return vec2<f32>(d + l, l);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let row = t * params.V;
  let teacher_row = t * (params.shift + params.V) + params.shift;
  let s = scores[t];
  let log_ratio = log(s.sum / s.teacher_sum);
  var sum = vec2<f32>(0.0);
  for (var v = lane; v < params.V; v += LANES) {
    let a = capped(student[row + v], params.cap) - s.top;
    let b = capped(teacher[teacher_row + v], params.teacher_cap) - s.teacher_top;
    let below = max(vec2<f32>(a, b) / params.temperature, vec2<f32>(FLOOR));
    let m = mixture(below.y - below.x + log_ratio);
    sum -= vec2<f32>(exp(below.y) / s.teacher_sum * m.y, exp(below.x) / s.sum * m.x);
  }
  parts[lane] = sum;
  workgroupBarrier();
  // In pairs: the order loses least.
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { parts[lane] += parts[lane + half]; }
    workgroupBarrier();
  }
  if (lane != 0u) { return; }
  var all = parts[0];
  if (params.first > 0u) { all += sums[t]; }
  sums[t] = all;
  loss[t] = select(params.forward * all.x + params.reverse * all.y, 0.0, targets[t] == IGNORED);
}
