// Leaves in first_values[0] and first_ids[0] the one that comes before all others of those that the lanes give, in the order of
// before.wgsl. Links with before.wgsl and a file that defines LANES, a power of two. All lanes must call it, and none may call
// it again before all have read.
var<workgroup> first_values: array<f32, LANES>;
var<workgroup> first_ids: array<u32, LANES>;

fn first_of_lanes(lane: u32, value: f32, id: u32) {
  first_values[lane] = value;
  first_ids[lane] = id;
  workgroupBarrier();
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    if (lane < half) {
      let other = lane + half;
      if (before(first_values[other], first_ids[other], first_values[lane], first_ids[lane])) {
        first_values[lane] = first_values[other];
        first_ids[lane] = first_ids[other];
      }
    }
    workgroupBarrier();
  }
}
