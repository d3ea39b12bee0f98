// Four invocations of a subgroup read the codes of a block of two tokens for all of it, half a token each; of a single token two.
var<private> place: u32;

fn pair_of(b: u32, t: u32) -> array<Codes, 2> {
  var halves: vec4<u32>;
  var last: vec2<u32>;
  if (place < 2u * min(TOKENS, 2u)) {
    let i = b * TOKENS + t + place / 2u;
    halves = codes[2u * i + place % 2u];
    last = behind[i];
  }
  let own = half_of(halves);
  let sum = bitcast<i32>(last.x);
  let scale = bitcast<f32>(last.y);
  return array<Codes, 2>(
    Codes(from_0(own), from_1(own), subgroupBroadcast(sum, 0u), subgroupBroadcast(scale, 0u)),
    Codes(from_2(own), from_3(own), subgroupBroadcast(sum, 2u), subgroupBroadcast(scale, 2u)),
  );
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32,
        @builtin(subgroup_invocation_id) invocation: u32) {
  place = invocation;
  four_rows(id.x, lane, id.y * TOKENS);
}
