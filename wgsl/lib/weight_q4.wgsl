// Weights stored in four bits, in blocks of 32 columns, 32 rows together: src/kernels/tensor.ts says where each lies.
alias WeightWord = u32;
alias WeightRow = u32; // where it begins
fn weight_row(row: u32, C4: u32) -> WeightRow { return (row & ~31u) * (C4 / 8u * 5u) + (row & 31u); }
fn weight4(row: WeightRow, c: u32) -> vec4<f32> {
  let block = row + c / 8u * 160u;
  let codes = weight[block + (c % 8u) / 2u * 32u] >> (8u * (c & 1u));
  let behind = weight[block + 128u];
  let q = vec4<f32>(vec4<u32>(codes, codes >> 4u, codes >> 16u, codes >> 20u) & vec4<u32>(15u));
  return bitcast<f32>(behind & ~255u) * (q - f32(behind & 255u) * 0.0625); // exact: 16 bits times 8
}
