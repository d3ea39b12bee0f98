// Weights stored as trits, 16 to a u32, and behind those of a row its scale: src/kernels/tensor.ts says where each lies.
alias WeightWord = u32;
struct WeightRow { start: u32, scale: f32 }
fn weight_row(row: u32, C4: u32) -> WeightRow {
  let words = C4 / 4u;
  let start = row * (words + 1u);
  return WeightRow(start, bitcast<f32>(weight[start + words]));
}
fn weight4(row: WeightRow, c: u32) -> vec4<f32> {
  let codes = weight[row.start + c / 4u] >> (2u * (c % 4u));
  let trits = vec4<u32>(codes, codes >> 8u, codes >> 16u, codes >> 24u) & vec4<u32>(3u);
  return row.scale * vec4<f32>(trits) - row.scale; // exact: a trit is stored as trit + 1
}
