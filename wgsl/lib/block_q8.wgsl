// The product of a block of 32 columns of a token in int8 and of four rows in eight bits: sums are of integers, and exact.
const BLOCK_WORDS = 9u; // of a row

fn four(w: vec4<u32>, c: u32) -> vec4<i32> {
  return vec4<i32>(dot4I8Packed(w.x, c), dot4I8Packed(w.y, c), dot4I8Packed(w.z, c), dot4I8Packed(w.w, c));
}

// 16 columns of four rows.
fn sixteen(i: u32, c: vec4<u32>) -> vec4<i32> {
  return (four(weight[i], c.x) + four(weight[i + QUADS], c.y))
       + (four(weight[i + 2u * QUADS], c.z) + four(weight[i + 3u * QUADS], c.w));
}

// Of weights from i on and codes of block b, first and second half.
fn block(i: u32, b: u32, first: vec4<u32>, second: vec4<u32>) -> vec4<f32> {
  let sums = sixteen(i, first) + sixteen(i + 4u * QUADS, second);
  return bitcast<vec4<f32>>(weight[i + 8u * QUADS]) * (scales[b] * vec4<f32>(sums));
}
