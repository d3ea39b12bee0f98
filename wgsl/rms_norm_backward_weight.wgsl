// dweight[c] = sum_t dy[t, c] * x[t, c] * scale[t], scale[t] being 1 / rms(x[t]).
//   x, dy [T, C]   scale [T]   dweight [C]
// One workgroup per 32 columns: 8 lanes of four columns each, times 32 that share the rows and are added in order.
const COLUMNS = 8u;
const ROWS = 32u;
struct Params { T: u32, C4: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> partial: array<vec4<f32>, COLUMNS * ROWS>;

@compute @workgroup_size(COLUMNS, ROWS)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let c = id.x;
  var sum = vec4<f32>(0.0);
  if (c < params.C4) {
    for (var t = local.y; t < params.T; t += ROWS) {
      let i = t * params.C4 + c;
      sum += dy[i] * x[i] * scale[t];
    }
  }
  partial[local.y * COLUMNS + local.x] = sum;
  workgroupBarrier();
  if (local.y > 0u || c >= params.C4) { return; }
  for (var i = 1u; i < ROWS; i++) { sum += partial[i * COLUMNS + local.x]; }
  dweight[c] = sum;
}
