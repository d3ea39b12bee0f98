// dlogits[t, v] = dloss[t] / temperature * (forward * (q - p) + reverse * q * (log q - log p - KL(q || p)))
//                 * (1 - (capped(student) / cap)^2), all as in distill, the last factor only where cap is not 0;
// 0 where the target is IGNORED.
//   student [T, V]   teacher [T, shift + V]   targets [T]   scores [T, 6]   dloss [T]   dlogits [T, V]
// One workgroup per row and 1024 columns.
// links lib/tanh.wgsl
const LANES = 64u;
const CHUNK = 1024u;
const FLOOR = -1.0e30;
const IGNORED = 0xffffffffu;
struct Params { V: u32, shift: u32, cap: f32, teacher_cap: f32, temperature: f32, forward: f32, reverse: f32 }
struct Scores { top: f32, sum: f32, teacher_top: f32, teacher_sum: f32, forward: f32, reverse: f32 }
@group(0) @binding(0) var<storage, read> student: array<f32>;
@group(0) @binding(1) var<storage, read> teacher: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> scores: array<Scores>;
@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

// tanh(x / cap), or 0 without a cap.
fn bend(x: f32, cap: f32) -> f32 {
  if (cap == 0.0) { return 0.0; }
  return tanh1(x / cap);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.y;
  let row = t * params.V;
  let teacher_row = t * (params.shift + params.V) + params.shift;
  let s = scores[t];
  let mean = s.reverse / s.sum; // of a' - b' under q: from it log q - log p - KL(q || p) is measured
  let scale = dloss[t] / params.temperature;
  for (var v = group.x * CHUNK + lane; v < min(params.V, (group.x + 1u) * CHUNK); v += LANES) {
    let l = vec2<f32>(student[row + v], teacher[teacher_row + v]);
    let caps = vec2<f32>(params.cap, params.teacher_cap);
    let u = vec2<f32>(bend(l.x, caps.x), bend(l.y, caps.y));
    let ab = select(caps * u, l, caps == vec2<f32>(0.0)) - vec2<f32>(s.top, s.teacher_top);
    let below = max(ab / params.temperature, vec2<f32>(FLOOR));
    let q = exp(below.x) / s.sum;
    let p = exp(below.y) / s.teacher_sum;
    let slope = params.forward * (q - p) + params.reverse * q * (below.x - below.y - mean);
    dlogits[row + v] = select(scale * slope * (1.0 - u.x) * (1.0 + u.x), 0.0, targets[t] == IGNORED);
  }
}
