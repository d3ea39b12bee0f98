// mean[0] = max(sum of partials / count, 1e-5), the scale of a ternary matrix (arXiv:2402.17764).
//   partials [slots] of abs_sum   mean [1]
// One workgroup: each lane adds up its share in blocks of 16, then pairs of lanes theirs.
const LANES = 256u;
const BLOCK = 16u;
struct Params { slots: u32, count: f32 }
@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> mean: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> sums: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  var i = lane;
  while (i < params.slots) {
    var block = 0.0;
    for (var k = 0u; k < BLOCK && i < params.slots; k++) {
      block += partials[i];
      i += LANES;
    }
    sum += block;
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    if (lane < width) { sums[lane] += sums[lane + width]; }
    workgroupBarrier();
  }
  if (lane == 0u) { mean[0] = max(sums[0] / params.count, 1.0e-5); }
}
