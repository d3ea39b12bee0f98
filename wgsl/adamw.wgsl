// One step of AdamW (Loshchilov & Hutter, arXiv:1711.05101), in place, element by element, with g = factor * gradient:
//   weight -= rate * decay * weight
//   m += (1 - beta1) * (g - m)   v += (1 - beta2) * (g^2 - v)
//   weight -= rate / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//   weight, gradient [rows, columns]
//   m, v [rows, active_columns]: of the weight's columns [first_column, first_column + active_columns)
//   settings [rate, rate / (1 - beta1^t), sqrt(1 - beta2^t)]   clip [norm, factor] of global_norm
// One invocation per active element. A factor below 0 means that the gradients are not finite: nothing is written.
override WORKGROUP: u32 = 64;
struct Params {
  n: u32, columns: u32, first_column: u32, active_columns: u32,
  one_minus_beta1: f32, one_minus_beta2: f32, eps: f32, decay: f32,
}
@group(0) @binding(0) var<storage, read_write> weight: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> m: array<f32>;
@group(0) @binding(3) var<storage, read_write> v: array<f32>;
@group(0) @binding(4) var<storage, read> settings: array<f32>;
@group(0) @binding(5) var<storage, read> clip: array<f32>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let factor = clip[1];
  if (i >= params.n || factor < 0.0) { return; }
  let at = i / params.active_columns * params.columns + params.first_column + i % params.active_columns;
  let g = factor * gradient[at];
  let mean = m[i] + params.one_minus_beta1 * (g - m[i]);
  let square = v[i] + params.one_minus_beta2 * (g * g - v[i]);
  m[i] = mean;
  v[i] = square;
  // Not weight * (1 - rate * decay): near 1, a f32 would lose most digits of the decay.
  let decayed = weight[at] - settings[0] * params.decay * weight[at];
  weight[at] = decayed - settings[1] * mean / (sqrt(square) / settings[2] + params.eps);
}
