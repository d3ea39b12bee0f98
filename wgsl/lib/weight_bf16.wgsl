// Weights stored as bf16, two to a u32: the upper halves of their f32.
alias WeightWord = vec2<u32>;
alias WeightRow = u32; // where it begins
fn weight_row(row: u32, C4: u32) -> WeightRow { return row * C4; }
fn weight4(row: WeightRow, c: u32) -> vec4<f32> {
  let w = weight[row + c];
  let bits = vec4<u32>(w.x << 16u, w.x & 0xffff0000u, w.y << 16u, w.y & 0xffff0000u);
  return bitcast<vec4<f32>>(bits);
}
