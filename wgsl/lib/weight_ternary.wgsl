// Weights stored as trits, 16 to a u32, rows in fours, behind those of a row its scale: src/kernels/tensor.ts says more.
alias WeightWord = u32;
struct WeightRow { start: u32, scale: f32 }
fn weight_row(row: u32, C4: u32) -> WeightRow {
  let words = C4 / 4u;
  let start = (row & ~3u) * (words + 1u) + (row & 3u);
  return WeightRow(start, bitcast<f32>(weight[start + 4u * words]));
}
fn weight4(row: WeightRow, c: u32) -> vec4<f32> {
  let codes = weight[row.start + (c & ~3u)] >> (2u * (c % 4u));
  let trits = vec4<u32>(codes, codes >> 8u, codes >> 16u, codes >> 24u) & vec4<u32>(3u);
  return row.scale * vec4<f32>(trits) - row.scale; // exact: a trit is stored as trit + 1
}
