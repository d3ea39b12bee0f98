// y[t, first_row + n] = sum_c x[t, c] * weight[n, c], a tile of 4 tokens x 4 rows per invocation.
//   x [T, C]   weight [rows, C]   y [T, N]
// A matrix in several parts is multiplied by one dispatch per part, each filling its own columns of y.
// links lib/weight_*.wgsl
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn store(t: u32, row: u32, values: vec4<f32>) {
  if (t >= params.T) { return; }
  let i = t * params.N + params.first_row + row;
  y[i] = values.x;
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 4u;
  let t = id.y * 4u;
  if (row >= params.rows || t >= params.T) { return; }
  let C4 = params.C4;
  // Rows past the edge read the last one; what they compute is not stored.
  let x0 = t * C4;
  let x1 = min(t + 1u, params.T - 1u) * C4;
  let x2 = min(t + 2u, params.T - 1u) * C4;
  let x3 = min(t + 3u, params.T - 1u) * C4;
  let w0 = weight_row(row, C4);
  let w1 = weight_row(min(row + 1u, params.rows - 1u), C4);
  let w2 = weight_row(min(row + 2u, params.rows - 1u), C4);
  let w3 = weight_row(min(row + 3u, params.rows - 1u), C4);
  var y0 = vec4<f32>(0.0);
  var y1 = vec4<f32>(0.0);
  var y2 = vec4<f32>(0.0);
  var y3 = vec4<f32>(0.0);
  for (var c = 0u; c < C4; c++) {
    let a = weight4(w0, c);
    let b = weight4(w1, c);
    let d = weight4(w2, c);
    let e = weight4(w3, c);
    let p = x[x0 + c];
    let q = x[x1 + c];
    let r = x[x2 + c];
    let s = x[x3 + c];
    y0 += vec4<f32>(dot(p, a), dot(p, b), dot(p, d), dot(p, e));
    y1 += vec4<f32>(dot(q, a), dot(q, b), dot(q, d), dot(q, e));
    y2 += vec4<f32>(dot(r, a), dot(r, b), dot(r, d), dot(r, e));
    y3 += vec4<f32>(dot(s, a), dot(s, b), dot(s, d), dot(s, e));
  }
  store(t, row, y0);
  store(t + 1u, row, y1);
  store(t + 2u, row, y2);
  store(t + 3u, row, y3);
}
