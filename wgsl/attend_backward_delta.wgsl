// stats[t, h] = (lse[t, h], delta[t, h]) with delta[t, h] = dy[t, h] . y[t, h]: what a query's gradient needs of its row.
//   y, dy [T, H, D]   lse [T, H]   stats [T, H, 2]
// One invocation per query and head.
override WORKGROUP: u32 = 64;
struct Params { rows: u32, D4: u32 }
@group(0) @binding(0) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> lse: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<vec2<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x;
  if (row >= params.rows) { return; }
  var products = vec4<f32>(0.0);
  for (var i = row * params.D4; i < (row + 1u) * params.D4; i++) { products += y[i] * dy[i]; }
  stats[row] = vec2<f32>(lse[row], dot(products, vec4<f32>(1.0)));
}
