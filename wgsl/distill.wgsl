// loss[t] = forward * KL(p || q) + reverse * KL(q || p), with q = softmax(a / temperature), a = capped(student), and
// p = softmax(b / temperature), b = capped(teacher); capped(l) = cap * tanh(l / cap), or l where that cap is 0.
// 0 where the target is IGNORED. One workgroup per row.
//   student [T, V]   teacher [T, shift + V], of which the first columns are not read   targets [T]   loss [T]
//   scores [T, (max a, sum_v exp(a'), max b, sum_v exp(b'), sum_v exp(b') (b' - a'), sum_v exp(a') (a' - b'))] with
//   a' = (a - max a) / temperature, b' = (b - max b) / temperature
// The vocabulary may come in blocks, one dispatch after the other: this one's logits are those of tokens
// [first, first + V). scores and loss are those of the blocks so far, and after the last of all.
// links lib/tanh.wgsl
const LANES = 64u;
const LOWEST = -3.0e38;
const FLOOR = -1.0e30; // of differences: those of infinite logits must not meet as NaN
const IGNORED = 0xffffffffu;
struct Params {
  V: u32, first: u32, shift: u32, cap: f32, teacher_cap: f32, temperature: f32, forward: f32, reverse: f32
}
struct Scores { top: f32, sum: f32, teacher_top: f32, teacher_sum: f32, forward: f32, reverse: f32 }
@group(0) @binding(0) var<storage, read> student: array<f32>;
@group(0) @binding(1) var<storage, read> teacher: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> scores: array<Scores>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> tops: array<vec2<f32>, LANES>;
var<workgroup> sums: array<vec4<f32>, LANES>;

fn capped(x: f32, cap: f32) -> f32 {
  if (cap == 0.0) { return x; }
  return cap * tanh1(x / cap);
}

// a and b of a column.
fn pair(t: u32, v: u32) -> vec2<f32> {
  let a = capped(student[t * params.V + v], params.cap);
  let b = capped(teacher[t * (params.shift + params.V) + params.shift + v], params.teacher_cap);
  return vec2<f32>(a, b);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  var before = Scores(LOWEST, 0.0, LOWEST, 0.0, 0.0, 0.0);
  if (params.first > 0u) { before = scores[t]; }
  let before_top = vec2<f32>(before.top, before.teacher_top);
  var top = before_top;
  for (var v = lane; v < params.V; v += LANES) { top = max(top, pair(t, v)); }
  tops[lane] = top;
  workgroupBarrier();
  for (var i = 0u; i < LANES; i++) { top = max(top, tops[i]); }

  var sum = vec4<f32>(0.0);
  for (var v = lane; v < params.V; v += LANES) {
    let ab = max((pair(t, v) - top) / params.temperature, vec2<f32>(FLOOR));
    let e = exp(ab);
    let d = ab.x - ab.y;
    sum += vec4<f32>(e, -e.y * d, e.x * d);
  }
  sums[lane] = sum;
  workgroupBarrier();
  // In pairs: the order loses least.
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) { sums[lane] += sums[lane + half]; }
    workgroupBarrier();
  }
  if (lane != 0u) { return; }
  // The blocks before, seen from the new maxima.
  let down = max((before_top - top) / params.temperature, vec2<f32>(FLOOR));
  let factor = exp(down);
  let d = down.x - down.y;
  let all = sums[0] + vec4<f32>(
    factor.x * before.sum,
    factor.y * before.teacher_sum,
    factor.y * (before.forward - before.teacher_sum * d),
    factor.x * (before.reverse + before.sum * d),
  );
  scores[t] = Scores(top.x, all.x, top.y, all.y, all.z, all.w);
  let log_ratio = log(all.x / all.y);
  let kl = params.forward * (all.z / all.y + log_ratio) + params.reverse * (all.w / all.x - log_ratio);
  loss[t] = select(kl, 0.0, targets[t] == IGNORED);
}
