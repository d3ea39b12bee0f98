// dweight[first_row + n, c] = sum_t dy[t, first_column + n] * x[t, c] for n < rows, or += where accumulate is not 0; a tile of
// 4 rows x 8 columns per invocation.
//   dy [T, N]   x [T, C]   dweight [first_row + rows or more, C]
// A matrix in several parts takes a dispatch per part, each reading its own columns of dy.
struct Params { T: u32, C4: u32, N: u32, first_column: u32, first_row: u32, rows: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

fn store(n: u32, c: u32, value: vec4<f32>) {
  if (n >= params.rows || c >= params.C4) { return; }
  let i = (params.first_row + n) * params.C4 + c;
  dweight[i] = select(value, dweight[i] + value, params.accumulate != 0u);
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
  let n = (group.y * 8u + lane.y) * 4u;
  let c = group.x * 16u + lane.x; // and c + 8, so that neighbours read neighbours
  let C4 = params.C4;
  if (n >= params.rows || c >= C4) { return; }
  // What lies past the edge is read as the last there is; what comes of it is not stored.
  let d = min(c + 8u, C4 - 1u);
  let y0 = params.first_column + n;
  let y1 = params.first_column + min(n + 1u, params.rows - 1u);
  let y2 = params.first_column + min(n + 2u, params.rows - 1u);
  let y3 = params.first_column + min(n + 3u, params.rows - 1u);
  var c0 = vec4<f32>(0.0);
  var c1 = vec4<f32>(0.0);
  var c2 = vec4<f32>(0.0);
  var c3 = vec4<f32>(0.0);
  var d0 = vec4<f32>(0.0);
  var d1 = vec4<f32>(0.0);
  var d2 = vec4<f32>(0.0);
  var d3 = vec4<f32>(0.0);
  for (var t = 0u; t < params.T; t++) {
    let v = x[t * C4 + c];
    let w = x[t * C4 + d];
    let row = t * params.N;
    let p = dy[row + y0];
    let q = dy[row + y1];
    let r = dy[row + y2];
    let s = dy[row + y3];
    c0 += p * v;
    c1 += q * v;
    c2 += r * v;
    c3 += s * v;
    d0 += p * w;
    d1 += q * w;
    d2 += r * w;
    d3 += s * w;
  }
  store(n, c, c0);
  store(n + 1u, c, c1);
  store(n + 2u, c, c2);
  store(n + 3u, c, c3);
  store(n, c + 8u, d0);
  store(n + 1u, c + 8u, d1);
  store(n + 2u, c + 8u, d2);
  store(n + 3u, c + 8u, d3);
}
