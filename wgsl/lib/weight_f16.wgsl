// Weights stored as f16, two to a u32. Needs no shader-f16.
alias WeightWord = vec2<u32>;
alias WeightRow = u32; // where it begins
fn weight_row(row: u32, C4: u32) -> WeightRow { return row * C4; }
fn weight4(row: WeightRow, c: u32) -> vec4<f32> {
  let w = weight[row + c];
  return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));
}
