// linear_backward_input.wgsl's product, a tile of 16 tokens x 4 columns per invocation, where subgroups have four lanes or more.
//   dy [T, N]   weight [rows, C]   dx [T, C]   N, first_row and rows multiples of 4
// A lane loads the weights of its own columns, and the first four lanes of a subgroup load dy, four tokens each, for all of
// it: linear_subgroup.wgsl says why.
enable subgroups;
// links lib/weight_*.wgsl
const LANES = 32u;
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

fn store(t: u32, c: u32, value: vec4<f32>) {
  if (t >= params.T || c >= params.C4) { return; }
  let i = t * params.C4 + c;
  if (params.accumulate == 0u) { dx[i] = value; } else { dx[i] += value; }
}

// Where a token begins in dy. Those past the edge read the last one's; what comes of it is not stored.
fn token(t: u32) -> u32 {
  return (min(t, params.T - 1u) * params.N + params.first_row) / 4u;
}

fn sum(y: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return y.x * a + y.y * b + y.z * c + y.w * d;
}

@compute @workgroup_size(LANES)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
  @builtin(subgroup_invocation_id) id: u32
) {
  let C4 = params.C4;
  let column = group.x * LANES + lane;
  let c = min(column, C4 - 1u); // columns past the edge are not stored either
  let t = group.y * 16u;
  let y0 = token(t + id);
  let y1 = token(t + 4u + id);
  let y2 = token(t + 8u + id);
  let y3 = token(t + 12u + id);
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
  for (var n = 0u; n < params.rows; n += 4u) {
    let a = weight4(weight_row(n, C4), c);
    let b = weight4(weight_row(n + 1u, C4), c);
    let d = weight4(weight_row(n + 2u, C4), c);
    let e = weight4(weight_row(n + 3u, C4), c);
    var p: vec4<f32>;
    var q: vec4<f32>;
    var r: vec4<f32>;
    var s: vec4<f32>;
    if (id < 4u) {
      p = dy[y0 + n / 4u];
      q = dy[y1 + n / 4u];
      r = dy[y2 + n / 4u];
      s = dy[y3 + n / 4u];
    }
    sum0 += sum(subgroupBroadcast(p, 0u), a, b, d, e);
    sum1 += sum(subgroupBroadcast(p, 1u), a, b, d, e);
    sum2 += sum(subgroupBroadcast(p, 2u), a, b, d, e);
    sum3 += sum(subgroupBroadcast(p, 3u), a, b, d, e);
    sum4 += sum(subgroupBroadcast(q, 0u), a, b, d, e);
    sum5 += sum(subgroupBroadcast(q, 1u), a, b, d, e);
    sum6 += sum(subgroupBroadcast(q, 2u), a, b, d, e);
    sum7 += sum(subgroupBroadcast(q, 3u), a, b, d, e);
    sum8 += sum(subgroupBroadcast(r, 0u), a, b, d, e);
    sum9 += sum(subgroupBroadcast(r, 1u), a, b, d, e);
    sum10 += sum(subgroupBroadcast(r, 2u), a, b, d, e);
    sum11 += sum(subgroupBroadcast(r, 3u), a, b, d, e);
    sum12 += sum(subgroupBroadcast(s, 0u), a, b, d, e);
    sum13 += sum(subgroupBroadcast(s, 1u), a, b, d, e);
    sum14 += sum(subgroupBroadcast(s, 2u), a, b, d, e);
    sum15 += sum(subgroupBroadcast(s, 3u), a, b, d, e);
  }
  store(t, column, sum0);
  store(t + 1u, column, sum1);
  store(t + 2u, column, sum2);
  store(t + 3u, column, sum3);
  store(t + 4u, column, sum4);
  store(t + 5u, column, sum5);
  store(t + 6u, column, sum6);
  store(t + 7u, column, sum7);
  store(t + 8u, column, sum8);
  store(t + 9u, column, sum9);
  store(t + 10u, column, sum10);
  store(t + 11u, column, sum11);
  store(t + 12u, column, sum12);
  store(t + 13u, column, sum13);
  store(t + 14u, column, sum14);
  store(t + 15u, column, sum15);
}
