// Weights stored as f32. What the flavours of this family define: WeightWord, an element of the array `weight`; WeightRow,
// a row of C4 * 4 weights of it; weight_row and weight4, the row and four of its weights from column 4 c on.
alias WeightWord = vec4<f32>;
alias WeightRow = u32; // where it begins
fn weight_row(row: u32, C4: u32) -> WeightRow { return row * C4; }
fn weight4(row: WeightRow, c: u32) -> vec4<f32> { return weight[row + c]; }
