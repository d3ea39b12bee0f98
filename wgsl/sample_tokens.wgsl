// ids[t, n] = the first token up to which the probabilities sum to more than uniforms[t, n], in the order of tokens, and
// probs[t, n] its probability: N draws from softmax(a / temperature), a as in log_sum_exp, by the inverse of its cumulative
// distribution.
//   logits [T, V]   scores [T, 2] of log_sum_exp   uniforms [T, N], in [0, 1)   ids, probs [T, N]
//   left [T, N], what is to be drawn yet of uniforms * sum, -1 where a draw is made
// The vocabulary comes in blocks, one dispatch after the other: this one's logits are those of tokens [first, first + V).
// From what is left of each draw one mass after the other is taken away, so that little is lost between tokens of little
// weight, wherever they are. Until a draw is made it stands at the last token so far that has any weight: that stays, where
// rounding leaves something over at the end.
// One workgroup per row; each of its lanes sums up a stretch of columns, then makes draws.
// links lib/tanh.wgsl
const LANES = 256u;
struct Params { V: u32, N: u32, first: u32, cap: f32, temperature: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> scores: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> uniforms: array<f32>;
@group(0) @binding(3) var<storage, read_write> left: array<f32>;
@group(0) @binding(4) var<storage, read_write> ids: array<u32>;
@group(0) @binding(5) var<storage, read_write> probs: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> sums: array<f32, LANES>;
var<workgroup> ends: array<u32, LANES>; // the last column of each stretch that has any weight

fn mass(t: u32, v: u32) -> f32 {
  var a = logits[t * params.V + v];
  if (params.cap != 0.0) { a = params.cap * tanh1(a / params.cap); }
  return exp((a - scores[t].x) / params.temperature);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let width = (params.V + LANES - 1u) / LANES;
  var sum = 0.0;
  var end = 0u;
  for (var v = lane * width; v < min(params.V, (lane + 1u) * width); v++) {
    let m = mass(t, v);
    sum += m;
    if (m > 0.0) { end = v; }
  }
  sums[lane] = sum;
  ends[lane] = end;
  workgroupBarrier();
  for (var n = lane; n < params.N; n += LANES) {
    let i = t * params.N + n;
    if (params.first == 0u) {
      left[i] = uniforms[i] * scores[t].y;
      ids[i] = 0u; // for good where logits are NaN
      probs[i] = 0.0;
    }
    var rest = left[i];
    if (rest < 0.0) { continue; }
    var stretch = LANES;
    var found = false;
    for (var l = 0u; l < LANES && !found; l++) {
      if (sums[l] > 0.0) { stretch = l; }
      found = rest < sums[l];
      if (!found) { rest -= sums[l]; }
    }
    if (stretch < LANES) {
      var token = ends[stretch];
      if (found) {
        var v = stretch * width;
        while (v < token) {
          let m = mass(t, v);
          if (rest < m) { token = v; }
          rest -= m;
          v++;
        }
        rest = -1.0;
      }
      ids[i] = params.first + token;
      probs[i] = mass(t, token) / scores[t].y;
    }
    left[i] = rest;
  }
}
