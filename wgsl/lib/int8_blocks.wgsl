// A token's activations x [1, C] in int8, rounded by each workgroup for itself, in C / 32 = BLOCKS blocks of 32 columns:
//   code = round(x / scale),   scale = max |x| / 127 of the block
// Once, for all of them: what lives from one barrier to the next is kept in memory by software adapters.
override BLOCKS: u32 = 1;
override CODES: u32 = 2; // twice BLOCKS
var<workgroup> codes: array<vec4<u32>, CODES>; // 16 each, two to a block
var<workgroup> scales: array<f32, BLOCKS>;
var<workgroup> code_sums: array<i32, BLOCKS>;

fn round4(v: vec4<f32>, per_unit: f32) -> vec4<i32> { return vec4<i32>(round(v * per_unit)); }

fn packed4(c: vec4<i32>) -> u32 {
  let bytes = vec4<u32>(c) & vec4<u32>(255u);
  return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// To be called by all lanes of a workgroup.
fn round_blocks(lane: u32, lanes: u32) {
  for (var b = lane; b < BLOCKS; b += lanes) {
    let at = b * 8u;
    var most = 0.0;
    for (var i = at; i < at + 8u; i++) {
      let v = abs(x[i]);
      most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    let per_unit = select(0.0, 127.0 / most, most > 1.0e-30);
    var sums = vec4<i32>(0);
    for (var half = 0u; half < 2u; half++) {
      let i = at + 4u * half;
      let c0 = round4(x[i], per_unit);
      let c1 = round4(x[i + 1u], per_unit);
      let c2 = round4(x[i + 2u], per_unit);
      let c3 = round4(x[i + 3u], per_unit);
      sums += (c0 + c1) + (c2 + c3);
      codes[2u * b + half] = vec4<u32>(packed4(c0), packed4(c1), packed4(c2), packed4(c3));
    }
    scales[b] = most / 127.0;
    code_sums[b] = (sums.x + sums.y) + (sums.z + sums.w);
  }
  workgroupBarrier();
}
