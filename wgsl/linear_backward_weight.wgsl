// dweight[first_row + n, c] = sum_t dy[t, first_column + n] * x[t, c] for n < rows, or += where accumulate is not 0; a tile of
// 8 rows x 8 columns per invocation.
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

// The column of dy that belongs to row n. Rows past the edge read the last one's; what comes of it is not stored.
fn column(n: u32) -> u32 {
  return params.first_column + min(n, params.rows - 1u);
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
  let n = (group.y * 8u + lane.y) * 8u;
  let c = group.x * 16u + lane.x; // and c + 8, so that neighbours read neighbours
  let C4 = params.C4;
  if (n >= params.rows || c >= C4) { return; }
  let d = min(c + 8u, C4 - 1u); // columns past the edge are not stored either
  let y0 = column(n);
  let y1 = column(n + 1u);
  let y2 = column(n + 2u);
  let y3 = column(n + 3u);
  let y4 = column(n + 4u);
  let y5 = column(n + 5u);
  let y6 = column(n + 6u);
  let y7 = column(n + 7u);
  var c0 = vec4<f32>(0.0);
  var c1 = vec4<f32>(0.0);
  var c2 = vec4<f32>(0.0);
  var c3 = vec4<f32>(0.0);
  var c4 = vec4<f32>(0.0);
  var c5 = vec4<f32>(0.0);
  var c6 = vec4<f32>(0.0);
  var c7 = vec4<f32>(0.0);
  var d0 = vec4<f32>(0.0);
  var d1 = vec4<f32>(0.0);
  var d2 = vec4<f32>(0.0);
  var d3 = vec4<f32>(0.0);
  var d4 = vec4<f32>(0.0);
  var d5 = vec4<f32>(0.0);
  var d6 = vec4<f32>(0.0);
  var d7 = vec4<f32>(0.0);
  for (var t = 0u; t < params.T; t++) {
    let v = x[t * C4 + c];
    let w = x[t * C4 + d];
    let row = t * params.N;
    let p0 = dy[row + y0];
    c0 += p0 * v;
    d0 += p0 * w;
    let p1 = dy[row + y1];
    c1 += p1 * v;
    d1 += p1 * w;
    let p2 = dy[row + y2];
    c2 += p2 * v;
    d2 += p2 * w;
    let p3 = dy[row + y3];
    c3 += p3 * v;
    d3 += p3 * w;
    let p4 = dy[row + y4];
    c4 += p4 * v;
    d4 += p4 * w;
    let p5 = dy[row + y5];
    c5 += p5 * v;
    d5 += p5 * w;
    let p6 = dy[row + y6];
    c6 += p6 * v;
    d6 += p6 * w;
    let p7 = dy[row + y7];
    c7 += p7 * v;
    d7 += p7 * w;
  }
  store(n, c, c0);
  store(n, c + 8u, d0);
  store(n + 1u, c, c1);
  store(n + 1u, c + 8u, d1);
  store(n + 2u, c, c2);
  store(n + 2u, c + 8u, d2);
  store(n + 3u, c, c3);
  store(n + 3u, c + 8u, d3);
  store(n + 4u, c, c4);
  store(n + 4u, c + 8u, d4);
  store(n + 5u, c, c5);
  store(n + 5u, c + 8u, d5);
  store(n + 6u, c, c6);
  store(n + 6u, c + 8u, d6);
  store(n + 7u, c, c7);
  store(n + 7u, c + 8u, d7);
}
