// Each invocation reads the codes of a block for itself.
fn codes_of(i: u32) -> Codes {
  let last = behind[i];
  return Codes(half_of(codes[2u * i]), half_of(codes[2u * i + 1u]), bitcast<i32>(last.x), bitcast<f32>(last.y));
}

fn pair_of(b: u32, t: u32) -> array<Codes, 2> {
  let i = b * TOKENS + t;
  return array<Codes, 2>(codes_of(i), codes_of(min(i + 1u, BLOCKS * TOKENS - 1u)));
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  four_rows(id.x, lane, id.y * TOKENS);
}
