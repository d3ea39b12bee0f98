// y[first_row + n] = sum_c x[c] * weight[n, c]: linear for a single token, 4 rows per invocation.
//   x [1, C]   weight [rows, C]   y [1, N]
// links lib/weight_*.wgsl
override WORKGROUP: u32 = 32;
struct Params { C4: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 4u;
  if (row >= params.rows) { return; }
  let C4 = params.C4;
  let w0 = weight_row(row, C4);
  let w1 = weight_row(min(row + 1u, params.rows - 1u), C4);
  let w2 = weight_row(min(row + 2u, params.rows - 1u), C4);
  let w3 = weight_row(min(row + 3u, params.rows - 1u), C4);
  var sum = vec4<f32>(0.0);
  for (var c = 0u; c < C4; c++) {
    let v = x[c];
    sum += vec4<f32>(dot(v, weight4(w0, c)), dot(v, weight4(w1, c)),
                     dot(v, weight4(w2, c)), dot(v, weight4(w3, c)));
  }
  let i = params.first_row + row;
  y[i] = sum.x;
  if (row + 1u < params.rows) { y[i + 1u] = sum.y; }
  if (row + 2u < params.rows) { y[i + 2u] = sum.z; }
  if (row + 3u < params.rows) { y[i + 3u] = sum.w; }
}
