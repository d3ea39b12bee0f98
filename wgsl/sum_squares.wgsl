// partials[slot + g] = sum of x^2 over the elements that workgroup g takes; BROKEN where that is not finite. They are
// elements of the columns [first_column, first_column + active_columns).
//   x [rows, columns]   partials [slots]
// As many workgroups as the caller likes: each lane walks over the elements with the stride of all lanes. It adds up
// blocks first, so that rounding errors do not pile up with the length of the walk.
const LANES = 256u;
const BLOCK = 64u;
const BROKEN: f32 = -1.0;
const INFINITE = 0x7f800000u;
struct Params { n: u32, columns: u32, first_column: u32, active_columns: u32, slot: u32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> sums: array<f32, LANES>;

// The sum of two numbers from 0 up, either of which may be BROKEN. Whether it is finite is told by its bits: WGSL lets
// compilers assume that no number is infinite or NaN.
fn add(a: f32, b: f32) -> f32 {
  let sum = a + b;
  return select(BROKEN, sum, min(a, b) >= 0.0 && (bitcast<u32>(sum) & INFINITE) != INFINITE);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let stride = groups.x * LANES;
  var sum = 0.0;
  var i = group.x * LANES + lane;
  while (i < params.n) {
    var block = 0.0;
    for (var k = 0u; k < BLOCK && i < params.n; k++) {
      let at = i / params.active_columns * params.columns + params.first_column + i % params.active_columns;
      block = add(block, x[at] * x[at]);
      i += stride;
    }
    sum = add(sum, block);
  }
  sums[lane] = sum;
  workgroupBarrier();
  for (var width = LANES / 2u; width > 0u; width /= 2u) {
    if (lane < width) { sums[lane] = add(sums[lane], sums[lane + width]); }
    workgroupBarrier();
  }
  if (lane == 0u) { partials[params.slot + group.x] = sums[0]; }
}
