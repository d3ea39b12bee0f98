// clip = [norm, factor]: norm = sqrt(sum of partials), factor = min(1, max_norm / (norm + 1e-6)) (Pascanu et al.,
// arXiv:1211.5063; the 1e-6 as in PyTorch), or 1 where max_norm is 0, which means no limit. A norm that is not finite
// is written as infinity and the factor as -1: updates leave everything as it is then.
//   partials [slots] of sum_squares   clip [2], the bits of two f32
// One workgroup: each lane adds up its share of the partials, then pairs of lanes theirs.
const LANES = 256u;
const BROKEN: f32 = -1.0;
const INFINITE = 0x7f800000u;
struct Params { slots: u32, max_norm: f32 }
@group(0) @binding(0) var<storage, read> partials: array<f32>;
@group(0) @binding(1) var<storage, read_write> clip: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> sums: array<f32, LANES>;

// The sum of two numbers from 0 up, either of which may be BROKEN.
fn add(a: f32, b: f32) -> f32 {
  let sum = a + b;
  return select(BROKEN, sum, min(a, b) >= 0.0 && (bitcast<u32>(sum) & INFINITE) != INFINITE);
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
  var sum = 0.0;
  for (var i = lane; i < params.slots; i += LANES) { sum = add(sum, partials[i]); }
  sums[lane] = sum;
  workgroupBarrier();
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    if (lane < width) { sums[lane] = add(sums[lane], sums[lane + width]); }
    workgroupBarrier();
  }
  if (lane > 0u) { return; }
  if (sums[0] < 0.0) {
    clip[0] = INFINITE; // as bits: WGSL has no infinite number
    clip[1] = bitcast<u32>(BROKEN);
    return;
  }
  let norm = sqrt(sums[0]);
  clip[0] = bitcast<u32>(norm);
  clip[1] = bitcast<u32>(select(1.0, min(1.0, params.max_norm / (norm + 1.0e-6)), params.max_norm > 0.0));
}
