// Rows weight_row + n of a matrix, n < rows, to eight bits, into rows into_row + n of `into`, as src/kernels/tensor.ts lays them:
//   code = round(w / scale),   scale = max |w| / 127 of the block of 32 columns
//   weight [weight_row + rows or more, C]   into [into_row + rows or more, C] q8
// One invocation per block.
// links lib/weight_*.wgsl
const LANES = 64u;
struct Params { C4: u32, weight_row: u32, into_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read_write> into: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * LANES + lane;
  let blocks = params.C4 / 8u;
  let n = i / blocks;
  let b = i % blocks;
  if (n >= params.rows) { return; }
  let row = weight_row(params.weight_row + n, params.C4);
  var most = 0.0;
  for (var c = 8u * b; c < 8u * b + 8u; c++) {
    let v = abs(weight4(row, c));
    most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
  }
  let per_unit = select(0.0, 127.0 / most, most > 1.0e-30);
  let into_row = params.into_row + n;
  let at = (into_row & ~31u) * (blocks * 9u) + (into_row & 31u) + 288u * b;
  for (var j = 0u; j < 8u; j++) {
    let codes = vec4<i32>(clamp(round(weight4(row, 8u * b + j) * per_unit), vec4<f32>(-127.0), vec4<f32>(127.0)));
    let bytes = vec4<u32>(codes) & vec4<u32>(255u);
    into[at + 32u * j] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
  }
  into[at + 256u] = bitcast<u32>(select(0.0, most / 127.0, most > 1.0e-30));
}
