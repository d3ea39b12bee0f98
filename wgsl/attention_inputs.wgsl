// What attend takes, from what the projections give: heads of q and k, normed where NORM is set, turned by the angles of their
// token's position; k and v in slot s % capacity of position s = cursor[0] + t.
//   x [T, heads, D]: q_heads of q, k_heads of k, v_heads of v, any of which may be 0
//   q_norm, k_norm [D]   table [256 + rows, D/2, (cos, sin)]   cursor [position, ...]   q [T, q_heads, D]
//   k_slots, v_slots [capacity, G, D]
// or, where batch is 1, for the tokens of T sequences: cursor [T or more, (position, ...)]   k_slots, v_slots [T, capacity, G, D];
// a token whose position is NONE is none, and nothing is stored for it.
//   norm(x) = x / sqrt(mean(x^2) + eps) * (offset + weight)
//   y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin, element j paired with j + D/2; rope.wgsl says more about the table
// 8 neighbouring lanes to a head, two pairs at a time. Needs T <= capacity and D <= 256.
// links lib/weight_*.wgsl as q_norm
// links lib/weight_*.wgsl as k_norm
// links lib/slots_*.wgsl as k_slots
// links lib/slots_*.wgsl as v_slots
override NORM: bool = false;
const LANES = 64u;
const STEP = 8u;
const NONE = 0xffffffffu;
struct Params {
  T: u32, q_heads: u32, k_heads: u32, v_heads: u32, G: u32, D4: u32, capacity: u32, batch: u32, eps: f32, offset: f32
}
@group(0) @binding(0) var<storage, read> x: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read> q_norm: array<QNormWord>;
@group(0) @binding(2) var<storage, read> k_norm: array<KNormWord>;
@group(0) @binding(3) var<storage, read> table: array<vec4<f32>>; // of two pairs
@group(0) @binding(4) var<storage, read> cursor: array<u32>;
@group(0) @binding(5) var<storage, read_write> q: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> k_slots: array<KSlotsWord>;
@group(0) @binding(7) var<storage, read_write> v_slots: array<VSlotsWord>;
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> partial: array<f32, LANES>;
var<workgroup> turned: array<vec2<f32>, 1024>; // heads of k and v as they will be kept, 128 for each that the workgroup has

// Weights of elements 2 i and 2 i + 1 of a head.
fn norm_weights(of_q: bool, i: u32) -> vec2<f32> {
  var w: vec4<f32>;
  if (of_q) {
    w = q_norm4(q_norm_row(0u, params.D4), i / 2u);
  } else {
    w = k_norm4(k_norm_row(0u, params.D4), i / 2u);
  }
  return params.offset + select(w.xy, w.zw, i % 2u == 1u);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let heads = params.q_heads + params.k_heads + params.v_heads;
  let half = params.D4; // of a head, in twos
  let first = lane % STEP;
  let n = (group.y * groups.x + group.x) * (LANES / STEP) + lane / STEP;
  let at = min(n, params.T * heads - 1u); // heads past the end repeat the last; what they give is not stored
  let start = at * half * 2u;
  var scale = 1.0;
  if (NORM) {
    var sum = 0.0;
    for (var i = first; i < half * 2u; i += STEP) { sum += dot(x[start + i], x[start + i]); }
    partial[lane] = sum;
    workgroupBarrier();
    sum = 0.0;
    for (var i = lane - first; i < lane - first + STEP; i++) { sum += partial[i]; }
    scale = 1.0 / sqrt(sum / f32(half * 4u) + params.eps);
  }
  let t = at / heads;
  let head = at % heads;
  var position = cursor[0] + t;
  if (params.batch == 1u) { position = cursor[t * 2u]; }
  let real = n < params.T * heads && position != NONE;
  let of_q = head < params.q_heads;
  let of_v = head >= params.q_heads + params.k_heads;
  let kept = lane / STEP * 128u;
  if (of_v) {
    for (var i = first; i < half * 2u; i += STEP) { turned[kept + i] = x[start + i]; }
  } else if (real) {
    for (var i = first; i < half; i += STEP) {
      let a = table[(256u + (position >> 8u)) * half + i];
      let b = table[(position & 255u) * half + i];
      let cosine = a.xz * b.xz - a.yw * b.yw;
      let sine = a.yw * b.xz + a.xz * b.yw;
      var x1 = x[start + i];
      var x2 = x[start + half + i];
      if (NORM) {
        x1 = x1 * scale * norm_weights(of_q, i);
        x2 = x2 * scale * norm_weights(of_q, half + i);
      }
      let y1 = x1 * cosine - x2 * sine;
      let y2 = x2 * cosine + x1 * sine;
      if (of_q) {
        let to = (t * params.q_heads + head) * half * 2u + i;
        q[to] = y1;
        q[to + half] = y2;
      } else {
        turned[kept + i] = y1;
        turned[kept + half + i] = y2;
      }
    }
  }
  workgroupBarrier();
  if (!real || of_q) { return; }
  let slot = (params.batch * t * params.capacity + position % params.capacity) * params.G;
  if (of_v) {
    v_slots_put(slot + head - params.q_heads - params.k_heads, params.D4, kept, first);
  } else {
    k_slots_put(slot + head - params.q_heads, params.D4, kept, first);
  }
}
