// x[t] = scale * weight[ids[t]], for the ids that lie in rows [first_row, first_row + rows) of the table.
//   ids [T]   weight [rows, C]   x [T, C]
// One invocation per four columns. A table in several parts is gathered by one dispatch per part.
// links lib/weight_*.wgsl
override WORKGROUP: u32 = 64;
struct Params { T: u32, C4: u32, first_row: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  let t = id.y;
  if (c >= params.C4) { return; }
  let row = ids[t] - params.first_row; // wraps to a huge number below first_row
  if (row >= params.rows) { return; }
  x[t * params.C4 + c] = weight4(weight_row(row, params.C4), c) * params.scale;
}
