// Each invocation reads the codes of a block for itself.
fn codes_of(b: u32) -> array<vec4<u32>, 2> { return array<vec4<u32>, 2>(codes[2u * b], codes[2u * b + 1u]); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  four_rows(id.x, lane);
}
