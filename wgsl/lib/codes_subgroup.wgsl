// Two invocations of a subgroup read the codes of a block for all of it.
var<private> half: u32;
fn codes_of(b: u32) -> array<vec4<u32>, 2> {
  let own = codes[2u * b + half];
  return array<vec4<u32>, 2>(subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_invocation_id) place: u32) {
  half = place & 1u;
  four_rows(id.x, lane);
}
