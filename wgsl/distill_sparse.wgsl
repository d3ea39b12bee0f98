// Divergence of a student from a teacher of whom K tokens are known, and its slopes by the student's logits.
//   values [T, K], the student's logits of these tokens, capped   probs [T, K], the teacher's; 0 where a slot is unused
//   rest [T, 2] of log_sum_exp, over all other tokens   targets [T]   loss [T]
//   slopes [T, K + 1], of the loss: by each value / temperature, and last by the log-sum-exp of the rest
// Both become distributions over buckets: the used slots, and one more for the rest, which depends on `over`:
//   FULL     Q has the rest, P none of it: P is renormalised over the slots
//   SUPPORT  neither has the rest: both are renormalised over the slots
//   TAIL     both have it: P's is 1 - sum probs
// loss = scale * D(P, Q), `kind` says of which kind: FORWARD KL(P || Q), with FULL the cross-entropy -sum P log Q instead;
// REVERSE KL(Q || P); JSD beta KL(P || M) + (1 - beta) KL(Q || M), M = beta P + (1 - beta) Q.
// 0 where the target is IGNORED, and where no slot is used and the rest is not compared. One workgroup per row.
const LANES = 64u;
const LOWEST = -3.0e38;
const FLOOR = -1.0e30;
const LEAST = 1.1920929e-7; // what 1 - sum probs may be off by, and so the least it is taken for
const IGNORED = 0xffffffffu;
const FULL = 0u;
const SUPPORT = 1u;
const TAIL = 2u;
const FORWARD = 0u;
const REVERSE = 1u;
struct Params { K: u32, over: u32, kind: u32, beta: f32, temperature: f32, scale: f32 }
@group(0) @binding(0) var<storage, read> values: array<f32>;
@group(0) @binding(1) var<storage, read> probs: array<f32>;
@group(0) @binding(2) var<storage, read> rest: array<vec2<f32>>;
@group(0) @binding(3) var<storage, read> targets: array<u32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> slopes: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> parts: array<vec2<f32>, LANES>;

fn sum_of_parts() -> vec2<f32> {
  var sum = vec2<f32>(0.0);
  for (var i = 0u; i < LANES; i++) { sum += parts[i]; }
  return sum;
}

// log(1 + y): WGSL's log may err by 2^-21 near 1, so there by the series of 2 atanh(y / (2 + y)).
fn log1p(y: f32) -> f32 {
  let s = y / (2.0 + y);
  let ss = s * s;
  let series = 2.0 * s * (1.0 + ss * (0.33333333 + ss * (0.2 + ss * 0.14285714)));
  return select(log(1.0 + y), series, abs(y) < 0.25);
}

// A bucket's share of D, and h: D's slope by log Q is Q (h - sum Q h) for every kind but FORWARD.
fn divergence(p: f32, log_q: f32) -> vec2<f32> {
  let q = exp(log_q);
  if (params.kind == FORWARD) {
    if (p <= 0.0) { return vec2<f32>(0.0); }
    return vec2<f32>(p * (select(log(p), 0.0, params.over == FULL) - log_q), 0.0);
  }
  let d = log(p) - log_q;
  if (params.kind == REVERSE) { return vec2<f32>(-q * d, -d); }
  let e = exp(-abs(d)) - 1.0;
  let near = log1p(select(1.0 - params.beta, params.beta, d <= 0.0) * e);
  let from_q = select(d, 0.0, d <= 0.0) + near; // log M - log Q
  let from_p = select(0.0, -d, d <= 0.0) + near; // log M - log P
  return vec2<f32>(-params.beta * p * from_p - (1.0 - params.beta) * q * from_q, -(1.0 - params.beta) * from_q);
}

fn slope(p: f32, log_q: f32, mean: f32) -> f32 {
  let q = exp(log_q);
  if (params.kind == FORWARD) { return q - p; }
  return q * (divergence(p, log_q).y - mean);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let row = t * params.K;
  let has_rest = params.over != SUPPORT && rest[t].y > 0.0;

  var top = LOWEST;
  var mass = 0.0;
  for (var k = lane; k < params.K; k += LANES) {
    if (probs[row + k] <= 0.0) { continue; }
    top = max(top, values[row + k]);
    mass += probs[row + k];
  }
  parts[lane] = vec2<f32>(top, mass);
  workgroupBarrier();
  mass = sum_of_parts().y;
  if (has_rest) { top = max(top, rest[t].x); }
  for (var i = 0u; i < LANES; i++) { top = max(top, parts[i].x); }
  workgroupBarrier();

  // The buckets' logits over the temperature, from here on relative to `top`.
  let rest_value = select(FLOOR, (rest[t].x - top) / params.temperature + log(rest[t].y), has_rest);
  var sum = 0.0;
  for (var k = lane; k < params.K; k += LANES) {
    if (probs[row + k] > 0.0) { sum += exp((values[row + k] - top) / params.temperature); }
  }
  parts[lane] = vec2<f32>(sum, 0.0);
  workgroupBarrier();
  let log_sum = log(sum_of_parts().x + exp(rest_value));
  workgroupBarrier();

  let norm = select(mass, 1.0, params.over == TAIL);
  let rest_p = select(0.0, max(1.0 - mass, LEAST), params.over == TAIL);
  var share = vec2<f32>(0.0);
  for (var k = lane; k < params.K; k += LANES) {
    if (probs[row + k] <= 0.0) { continue; }
    let log_q = (values[row + k] - top) / params.temperature - log_sum;
    let part = divergence(probs[row + k] / norm, log_q);
    share += vec2<f32>(part.x, exp(log_q) * part.y);
  }
  if (lane == 0u && has_rest) {
    let part = divergence(rest_p, rest_value - log_sum);
    share += vec2<f32>(part.x, exp(rest_value - log_sum) * part.y);
  }
  parts[lane] = share;
  workgroupBarrier();
  let all = sum_of_parts();

  let off = targets[t] == IGNORED || (mass <= 0.0 && params.over != TAIL);
  for (var k = lane; k < params.K; k += LANES) {
    let log_q = (values[row + k] - top) / params.temperature - log_sum;
    let g = params.scale * slope(probs[row + k] / norm, log_q, all.y);
    slopes[row + t + k] = select(g, 0.0, off || probs[row + k] <= 0.0);
  }
  if (lane != 0u) { return; }
  let g = params.scale * slope(rest_p, rest_value - log_sum, all.y);
  slopes[row + t + params.K] = select(g, 0.0, off || !has_rest);
  loss[t] = select(params.scale * all.x, 0.0, off);
}
