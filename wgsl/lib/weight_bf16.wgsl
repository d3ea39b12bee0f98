// Four weights stored as bf16, two to a u32: the upper halves of their f32.
alias Weight4 = vec2<u32>;
fn unpack4(w: Weight4) -> vec4<f32> {
  let bits = vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u);
  return bitcast<vec4<f32>>(bits);
}
