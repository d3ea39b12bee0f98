// Gradient of add_bias with respect to bias: dbias[n] = sum_t dy[t, n].
//   dy [T, N]   dbias [N]
// One workgroup per 32 columns: a lane for each, times 8 that share the rows and are added in order.
const COLUMNS = 32u;
const ROWS = 8u;
struct Params { T: u32, N: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read_write> dbias: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> partial: array<f32, COLUMNS * ROWS>;

@compute @workgroup_size(COLUMNS, ROWS)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let n = id.x;
  var sum = 0.0;
  if (n < params.N) {
    for (var t = local.y; t < params.T; t += ROWS) { sum += dy[t * params.N + n]; }
  }
  partial[local.y * COLUMNS + local.x] = sum;
  workgroupBarrier();
  if (local.y > 0u || n >= params.N) { return; }
  for (var i = 1u; i < ROWS; i++) { sum += partial[i * COLUMNS + local.x]; }
  dbias[n] = sum;
}
