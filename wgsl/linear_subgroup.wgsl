// linear.wgsl's product, a tile of 4 QUADS tokens x 4 rows per invocation, where subgroups have four lanes or more.
//   x [T, C]   weight [rows, C]   y [T, N]
// On software adapters a load costs some 35 instructions per lane, whether lanes ask for the same or not, and a broadcast
// about one. So a lane loads the weights of its own rows, and the first four lanes of a subgroup load x, QUADS tokens each,
// for all of it.
enable subgroups;
// links lib/weight_*.wgsl
override QUADS: u32 = 4; // 1, 2 or 4
const LANES = 32u;
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// Rows lie LANES apart, so that neighbours write neighbours.
fn store(t: u32, row: u32, values: vec4<f32>) {
  if (t >= params.T) { return; }
  let i = t * params.N + params.first_row + row;
  if (row < params.rows) { y[i] = values.x; }
  if (row + LANES < params.rows) { y[i + LANES] = values.y; }
  if (row + 2u * LANES < params.rows) { y[i + 2u * LANES] = values.z; }
  if (row + 3u * LANES < params.rows) { y[i + 3u * LANES] = values.w; }
}

// Where a token begins in x, a row in weight. Those past the edge read the last one; what comes of it is not stored.
fn token(t: u32) -> u32 { return min(t, params.T - 1u) * params.C4; }
fn row_at(row: u32) -> WeightRow { return weight_row(min(row, params.rows - 1u), params.C4); }

fn dots(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(dot(x, a), dot(x, b), dot(x, c), dot(x, d));
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) id: u32
) {
  let row = group.x * 4u * LANES + lane;
  let t = group.y * (4u * QUADS);
  let w0 = row_at(row);
  let w1 = row_at(row + LANES);
  let w2 = row_at(row + 2u * LANES);
  let w3 = row_at(row + 3u * LANES);
  let x0 = token(t + id);
  let x1 = token(t + 4u + id);
  let x2 = token(t + 8u + id);
  let x3 = token(t + 12u + id);
  var y0 = vec4<f32>(0.0);
  var y1 = vec4<f32>(0.0);
  var y2 = vec4<f32>(0.0);
  var y3 = vec4<f32>(0.0);
  var y4 = vec4<f32>(0.0);
  var y5 = vec4<f32>(0.0);
  var y6 = vec4<f32>(0.0);
  var y7 = vec4<f32>(0.0);
  var y8 = vec4<f32>(0.0);
  var y9 = vec4<f32>(0.0);
  var y10 = vec4<f32>(0.0);
  var y11 = vec4<f32>(0.0);
  var y12 = vec4<f32>(0.0);
  var y13 = vec4<f32>(0.0);
  var y14 = vec4<f32>(0.0);
  var y15 = vec4<f32>(0.0);
  for (var c = 0u; c < params.C4; c++) {
    let a = weight4(w0, c);
    let b = weight4(w1, c);
    let d = weight4(w2, c);
    let e = weight4(w3, c);
    var p: vec4<f32>;
    var q: vec4<f32>;
    var r: vec4<f32>;
    var s: vec4<f32>;
    if (id < 4u) {
      p = x[x0 + c];
      if (QUADS > 1u) { q = x[x1 + c]; }
      if (QUADS > 2u) {
        r = x[x2 + c];
        s = x[x3 + c];
      }
    }
    y0 += dots(subgroupBroadcast(p, 0u), a, b, d, e);
    y1 += dots(subgroupBroadcast(p, 1u), a, b, d, e);
    y2 += dots(subgroupBroadcast(p, 2u), a, b, d, e);
    y3 += dots(subgroupBroadcast(p, 3u), a, b, d, e);
    if (QUADS > 1u) {
      y4 += dots(subgroupBroadcast(q, 0u), a, b, d, e);
      y5 += dots(subgroupBroadcast(q, 1u), a, b, d, e);
      y6 += dots(subgroupBroadcast(q, 2u), a, b, d, e);
      y7 += dots(subgroupBroadcast(q, 3u), a, b, d, e);
    }
    if (QUADS > 2u) {
      y8 += dots(subgroupBroadcast(r, 0u), a, b, d, e);
      y9 += dots(subgroupBroadcast(r, 1u), a, b, d, e);
      y10 += dots(subgroupBroadcast(r, 2u), a, b, d, e);
      y11 += dots(subgroupBroadcast(r, 3u), a, b, d, e);
      y12 += dots(subgroupBroadcast(s, 0u), a, b, d, e);
      y13 += dots(subgroupBroadcast(s, 1u), a, b, d, e);
      y14 += dots(subgroupBroadcast(s, 2u), a, b, d, e);
      y15 += dots(subgroupBroadcast(s, 3u), a, b, d, e);
    }
  }
  store(t, row, y0);
  store(t + 1u, row, y1);
  store(t + 2u, row, y2);
  store(t + 3u, row, y3);
  if (QUADS > 1u) {
    store(t + 4u, row, y4);
    store(t + 5u, row, y5);
    store(t + 6u, row, y6);
    store(t + 7u, row, y7);
  }
  if (QUADS > 2u) {
    store(t + 8u, row, y8);
    store(t + 9u, row, y9);
    store(t + 10u, row, y10);
    store(t + 11u, row, y11);
    store(t + 12u, row, y12);
    store(t + 13u, row, y13);
    store(t + 14u, row, y14);
    store(t + 15u, row, y15);
  }
}
