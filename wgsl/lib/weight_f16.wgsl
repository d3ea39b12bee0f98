// Four weights stored as f16, two to a u32. Needs no shader-f16.
alias Weight4 = vec2<u32>;
fn unpack4(w: Weight4) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}
