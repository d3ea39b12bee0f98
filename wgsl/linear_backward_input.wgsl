// dx[t, c] = sum_n dy[t, first_row + n] * weight[n, c], a tile of 8 tokens x 8 columns per invocation.
//   dy [T, N]   weight [rows, C]   dx [T, C]
// Where accumulate is not 0 the sum is added to dx: a matrix in several parts takes a dispatch per part.
// links lib/weight_*.wgsl
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

fn store(t: u32, c: u32, value: vec4<f32>) {
  if (t >= params.T || c >= params.C4) { return; }
  let i = t * params.C4 + c;
  if (params.accumulate == 0u) { dx[i] = value; } else { dx[i] += value; }
}

// Where the row of token t begins in dy. Tokens past the edge read the last one's; what comes of it is not stored.
fn start(t: u32) -> u32 {
  return min(t, params.T - 1u) * params.N + params.first_row;
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
  let t = (group.y * 8u + lane.y) * 8u;
  let c = group.x * 16u + lane.x; // and c + 8, so that neighbours read neighbours
  let C4 = params.C4;
  if (t >= params.T || c >= C4) { return; }
  let d = min(c + 8u, C4 - 1u); // columns past the edge are not stored either
  let y0 = start(t);
  let y1 = start(t + 1u);
  let y2 = start(t + 2u);
  let y3 = start(t + 3u);
  let y4 = start(t + 4u);
  let y5 = start(t + 5u);
  let y6 = start(t + 6u);
  let y7 = start(t + 7u);
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
  for (var n = 0u; n < params.rows; n++) {
    let row = weight_row(n, C4);
    let v = weight4(row, c);
    let w = weight4(row, d);
    let p0 = dy[y0 + n];
    c0 += p0 * v;
    d0 += p0 * w;
    let p1 = dy[y1 + n];
    c1 += p1 * v;
    d1 += p1 * w;
    let p2 = dy[y2 + n];
    c2 += p2 * v;
    d2 += p2 * w;
    let p3 = dy[y3 + n];
    c3 += p3 * v;
    d3 += p3 * w;
    let p4 = dy[y4 + n];
    c4 += p4 * v;
    d4 += p4 * w;
    let p5 = dy[y5 + n];
    c5 += p5 * v;
    d5 += p5 * w;
    let p6 = dy[y6 + n];
    c6 += p6 * v;
    d6 += p6 * w;
    let p7 = dy[y7 + n];
    c7 += p7 * v;
    d7 += p7 * w;
  }
  store(t, c, c0);
  store(t, c + 8u, d0);
  store(t + 1u, c, c1);
  store(t + 1u, c + 8u, d1);
  store(t + 2u, c, c2);
  store(t + 2u, c + 8u, d2);
  store(t + 3u, c, c3);
  store(t + 3u, c + 8u, d3);
  store(t + 4u, c, c4);
  store(t + 4u, c + 8u, d4);
  store(t + 5u, c, c5);
  store(t + 5u, c + 8u, d5);
  store(t + 6u, c, c6);
  store(t + 6u, c + 8u, d6);
  store(t + 7u, c, c7);
  store(t + 7u, c + 8u, d7);
}
