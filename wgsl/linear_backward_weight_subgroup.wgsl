// linear_backward_weight.wgsl's product, a tile of 16 rows x 4 columns per invocation, where subgroups have four lanes or more.
//   dy [T, N]   x [T, C]   dweight [first_row + rows or more, C]   N and first_column multiples of 4
// A lane loads x of its own columns, and the first four lanes of a subgroup load dy, four rows' each, for all of it:
// linear_subgroup.wgsl says why.
enable subgroups;
const LANES = 32u;
struct Params { T: u32, C4: u32, N: u32, first_column: u32, first_row: u32, rows: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

fn store(n: u32, c: u32, value: vec4<f32>) {
  if (n >= params.rows || c >= params.C4) { return; }
  let i = (params.first_row + n) * params.C4 + c;
  if (params.accumulate == 0u) { dweight[i] = value; } else { dweight[i] += value; }
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) id: u32
) {
  let C4 = params.C4;
  let N4 = params.N / 4u;
  let column = group.x * LANES + lane;
  let c = min(column, C4 - 1u); // columns past the edge are not stored
  let n = group.y * 16u;
  let four = min((params.first_column + n) / 4u + id, N4 - 1u); // nor are rows past it
  var sum0 = vec4<f32>(0.0);
  var sum1 = vec4<f32>(0.0);
  var sum2 = vec4<f32>(0.0);
  var sum3 = vec4<f32>(0.0);
  var sum4 = vec4<f32>(0.0);
  var sum5 = vec4<f32>(0.0);
  var sum6 = vec4<f32>(0.0);
  var sum7 = vec4<f32>(0.0);
  var sum8 = vec4<f32>(0.0);
  var sum9 = vec4<f32>(0.0);
  var sum10 = vec4<f32>(0.0);
  var sum11 = vec4<f32>(0.0);
  var sum12 = vec4<f32>(0.0);
  var sum13 = vec4<f32>(0.0);
  var sum14 = vec4<f32>(0.0);
  var sum15 = vec4<f32>(0.0);
  for (var t = 0u; t < params.T; t += 2u) {
    let u = min(t + 1u, params.T - 1u);
    let v = x[t * C4 + c];
    let w = x[u * C4 + c];
    var y: vec4<f32>;
    var z = vec4<f32>(0.0); // so for a token past the last
    if (id < 4u) {
      y = dy[t * N4 + four];
      if (u > t) { z = dy[u * N4 + four]; }
    }
    let y0 = subgroupBroadcast(y, 0u);
    let z0 = subgroupBroadcast(z, 0u);
    let y1 = subgroupBroadcast(y, 1u);
    let z1 = subgroupBroadcast(z, 1u);
    let y2 = subgroupBroadcast(y, 2u);
    let z2 = subgroupBroadcast(z, 2u);
    let y3 = subgroupBroadcast(y, 3u);
    let z3 = subgroupBroadcast(z, 3u);
    sum0 += y0.x * v + z0.x * w;
    sum1 += y0.y * v + z0.y * w;
    sum2 += y0.z * v + z0.z * w;
    sum3 += y0.w * v + z0.w * w;
    sum4 += y1.x * v + z1.x * w;
    sum5 += y1.y * v + z1.y * w;
    sum6 += y1.z * v + z1.z * w;
    sum7 += y1.w * v + z1.w * w;
    sum8 += y2.x * v + z2.x * w;
    sum9 += y2.y * v + z2.y * w;
    sum10 += y2.z * v + z2.z * w;
    sum11 += y2.w * v + z2.w * w;
    sum12 += y3.x * v + z3.x * w;
    sum13 += y3.y * v + z3.y * w;
    sum14 += y3.z * v + z3.z * w;
    sum15 += y3.w * v + z3.w * w;
  }
  store(n, column, sum0);
  store(n + 1u, column, sum1);
  store(n + 2u, column, sum2);
  store(n + 3u, column, sum3);
  store(n + 4u, column, sum4);
  store(n + 5u, column, sum5);
  store(n + 6u, column, sum6);
  store(n + 7u, column, sum7);
  store(n + 8u, column, sum8);
  store(n + 9u, column, sum9);
  store(n + 10u, column, sum10);
  store(n + 11u, column, sum11);
  store(n + 12u, column, sum12);
  store(n + 13u, column, sum13);
  store(n + 14u, column, sum14);
  store(n + 15u, column, sum15);
}
