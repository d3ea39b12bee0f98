// Gradient of scale_columns with respect to magnitude, 0 in columns whose norm is 0:
//   dmagnitude[n] = sum_t dy[t, n] * x[t, n] / norm[n]
//   x, dy [T, N]   norm, dmagnitude [N]
// One workgroup per 32 columns: a lane for each, times 8 that share the rows and are added in order.
const COLUMNS = 32u;
const ROWS = 8u;
struct Params { T: u32, N: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<storage, read_write> dmagnitude: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> partial: array<f32, COLUMNS * ROWS>;

@compute @workgroup_size(COLUMNS, ROWS)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let n = id.x;
  var sum = 0.0;
  if (n < params.N) {
    for (var t = local.y; t < params.T; t += ROWS) {
      let i = t * params.N + n;
      sum += dy[i] * x[i];
    }
  }
  partial[local.y * COLUMNS + local.x] = sum;
  workgroupBarrier();
  if (local.y > 0u || n >= params.N) { return; }
  for (var i = 1u; i < ROWS; i++) { sum += partial[i * COLUMNS + local.x]; }
  if (norm[n] == 0.0) {
    dmagnitude[n] = 0.0;
  } else {
    dmagnitude[n] = sum / norm[n];
  }
}
