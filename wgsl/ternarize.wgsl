// trit = clamp(round(weight[weight_row + n, c] / scale), -1, 1) for n < rows, with the scale of the whole matrix
// (arXiv:2402.17764), into row into_row + n: words of 16 trits, then the scale, rows in fours.
//   weight [weight_row + rows or more, C]   scale [1]   into [into_row + rows or more, C] ternary
// One invocation per word. Matrices in several parts take a dispatch per pair of parts that share rows.
// links lib/weight_*.wgsl
const LANES = 64u;
struct Params { C4: u32, weight_row: u32, into_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read> scale: array<f32>;
@group(0) @binding(2) var<storage, read_write> into: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * LANES + lane;
  let codes = params.C4 / 4u; // words of a row before its scale
  let n = i / (codes + 1u);
  let j = i % (codes + 1u);
  if (n >= params.rows) { return; }
  let into_row = params.into_row + n;
  let at = (into_row & ~3u) * (codes + 1u) + 4u * j + (into_row & 3u);
  if (j == codes) {
    into[at] = bitcast<u32>(scale[0]);
    return;
  }
  let row = weight_row(params.weight_row + n, params.C4);
  var word = 0u;
  for (var k = 0u; k < 4u; k++) {
    let trits = clamp(round(weight4(row, 4u * j + k) / scale[0]), vec4<f32>(-1.0), vec4<f32>(1.0));
    let c = vec4<u32>(trits + 1.0);
    word |= (c.x | (c.y << 8u) | (c.z << 16u) | (c.w << 24u)) << (2u * k);
  }
  into[at] = word;
}
