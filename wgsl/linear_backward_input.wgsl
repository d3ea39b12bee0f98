// dx[t, c] = sum_n dy[t, first_row + n] * weight[n, c], a tile of 4 tokens x 8 columns per invocation.
//   dy [T, N]   weight [rows, C]   dx [T, C]
// Where accumulate is not 0 the sum is added to dx: a matrix in several parts takes a dispatch per part.
// links lib/weight_*.wgsl
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<Weight4>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

fn store(t: u32, c: u32, value: vec4<f32>) {
  if (t >= params.T || c >= params.C4) { return; }
  let i = t * params.C4 + c;
  if (params.accumulate == 0u) { dx[i] = value; } else { dx[i] += value; }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) lane: vec3<u32>) {
  let t = (group.y * 8u + lane.y) * 4u;
  let c = group.x * 16u + lane.x; // and c + 8, so that neighbours read neighbours
  let C4 = params.C4;
  if (t >= params.T || c >= C4) { return; }
  // What lies past the edge is read as the last there is; what comes of it is not stored.
  let d = min(c + 8u, C4 - 1u);
  let y0 = t * params.N + params.first_row;
  let y1 = min(t + 1u, params.T - 1u) * params.N + params.first_row;
  let y2 = min(t + 2u, params.T - 1u) * params.N + params.first_row;
  let y3 = min(t + 3u, params.T - 1u) * params.N + params.first_row;
  var c0 = vec4<f32>(0.0);
  var c1 = vec4<f32>(0.0);
  var c2 = vec4<f32>(0.0);
  var c3 = vec4<f32>(0.0);
  var d0 = vec4<f32>(0.0);
  var d1 = vec4<f32>(0.0);
  var d2 = vec4<f32>(0.0);
  var d3 = vec4<f32>(0.0);
  for (var n = 0u; n < params.rows; n++) {
    let v = unpack4(weight[n * C4 + c]);
    let w = unpack4(weight[n * C4 + d]);
    let p = dy[y0 + n];
    let q = dy[y1 + n];
    let r = dy[y2 + n];
    let s = dy[y3 + n];
    c0 += p * v;
    c1 += q * v;
    c2 += r * v;
    c3 += s * v;
    d0 += p * w;
    d1 += q * w;
    d2 += r * w;
    d3 += s * w;
  }
  store(t, c, c0);
  store(t + 1u, c, c1);
  store(t + 2u, c, c2);
  store(t + 3u, c, c3);
  store(t, c + 8u, d0);
  store(t + 1u, c + 8u, d1);
  store(t + 2u, c + 8u, d2);
  store(t + 3u, c + 8u, d3);
}
