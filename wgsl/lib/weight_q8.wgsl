// Weights stored in eight bits, in blocks of 32 columns, 32 rows together: src/kernels/tensor.ts says where each lies.
alias WeightWord = u32;
alias WeightRow = u32; // where it begins
fn weight_row(row: u32, C4: u32) -> WeightRow { return (row & ~31u) * (C4 / 8u * 9u) + (row & 31u); }
fn weight4(row: WeightRow, c: u32) -> vec4<f32> {
  let block = row + c / 8u * 288u;
  let word = bitcast<i32>(weight[block + (c % 8u) * 32u]);
  let codes = vec4<i32>(word << 24u, word << 16u, word << 8u, word) >> vec4<u32>(24u);
  return bitcast<f32>(weight[block + 256u]) * vec4<f32>(codes);
}
