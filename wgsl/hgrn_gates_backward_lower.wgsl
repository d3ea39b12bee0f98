// Gradient of f = lower + (1 - lower) * s(z) with respect to lower, s being the logistic function:
//   dlower[c] = sum_t df[t, c] * (1 - s(z[t, c]))
//   z, df [T, C]   dlower [C]
// One workgroup per 32 columns: 8 lanes of four columns each, times 32 that share the rows and are added in order.
// links lib/activations.wgsl
const COLUMNS = 8u;
const ROWS = 32u;
struct Params { T: u32, C4: u32 }
@group(0) @binding(0) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> df: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dlower: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partial: array<vec4<f32>, COLUMNS * ROWS>;

@compute @workgroup_size(COLUMNS, ROWS)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let c = id.x;
  var sum = vec4<f32>(0.0);
  if (c < params.C4) {
    for (var t = local.y; t < params.T; t += ROWS) {
      let n = t * params.C4 + c;
      sum += df[n] * logistic(-z[n]);
    }
  }
  partial[local.y * COLUMNS + local.x] = sum;
  workgroupBarrier();
  if (local.y > 0u || c >= params.C4) { return; }
  for (var r = 1u; r < ROWS; r++) { sum += partial[r * COLUMNS + local.x]; }
  dlower[c] = sum;
}
