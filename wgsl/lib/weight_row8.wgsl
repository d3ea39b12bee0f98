// Rows of signed codes, four to a word, and a scale in f32 behind each row: src/kernels/tensor.ts.
alias WeightWord = u32;
struct WeightRow { start: u32, scale: f32 }
fn weight_row(row: u32, C4: u32) -> WeightRow {
  let start = row * (C4 + 1u);
  return WeightRow(start, bitcast<f32>(weight[start + C4]));
}
fn weight4(row: WeightRow, c: u32) -> vec4<f32> {
  let word = bitcast<i32>(weight[row.start + c]);
  return row.scale * vec4<f32>(vec4<i32>(word << 24u, word << 16u, word << 8u, word) >> vec4<u32>(24u));
}
