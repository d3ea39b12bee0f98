// dweight[v] += scale * sum of dx[t] over the t with ids[t] = v, for v in rows [first_row, first_row + rows). Rows of ids
// that do not occur are left as they are.
//   ids [T]   links [T, (earlier, later)] of embed_backward_links   dx [T, C]   dweight [rows, C]
// One invocation per token and four columns. Those of an id's first token follow its links and write its row.
override WORKGROUP: u32 = 64;
struct Params { T: u32, C4: u32, first_row: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> links: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read> dx: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.C4 || links[id.y].x < params.T) { return; }
  let row = ids[id.y] - params.first_row; // wraps to a huge number below first_row
  if (row >= params.rows) { return; }
  var sum = vec4<f32>(0.0);
  for (var t = id.y; t < params.T; t = links[t].y) { sum += dx[t * params.C4 + c]; }
  dweight[row * params.C4 + c] += sum * params.scale;
}
