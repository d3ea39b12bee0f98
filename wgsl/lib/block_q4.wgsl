// The product of a block of 32 columns of a token in int8 and of four rows in four bits. One multiplication makes two products
// and their sum: (p + 2^16 q) * (b + 2^16 a) has p a + q b in its upper half, above p b. The sum is exact: of codes * q, of which
// zero * sum(codes) is taken away.
const BLOCK_WORDS = 5u; // of a row
const NIBBLES = vec4<u32>(0x000f000fu);

// Codes as the multiplication wants them: 2^16 code 0 + code 2 of each word, and 2^16 code 1 + code 3.
fn even(c: vec4<i32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(((c << vec4<u32>(24u)) >> vec4<u32>(8u)) + ((c << vec4<u32>(8u)) >> vec4<u32>(24u)));
}

fn odd(c: vec4<i32>) -> vec4<u32> {
  return bitcast<vec4<u32>>((((c << vec4<u32>(16u)) >> vec4<u32>(24u)) << vec4<u32>(16u)) + (c >> vec4<u32>(24u)));
}

fn product(w: vec4<u32>, e0: u32, o0: u32, e1: u32, o1: u32) -> vec4<u32> {
  return ((w & NIBBLES) * e0 + ((w >> vec4<u32>(4u)) & NIBBLES) * o0)
       + (((w >> vec4<u32>(8u)) & NIBBLES) * e1 + ((w >> vec4<u32>(12u)) & NIBBLES) * o1);
}

// 16 columns of four rows: eight sums of at most 2 * 15 * 127 stay in the upper half, what lies below within half of it.
fn sixteen(i: u32, codes: vec4<u32>) -> vec4<i32> {
  let e = even(bitcast<vec4<i32>>(codes));
  let o = odd(bitcast<vec4<i32>>(codes));
  let p = vec4<u32>(0x8000u) + product(weight[i], e.x, o.x, e.y, o.y) + product(weight[i + QUADS], e.z, o.z, e.w, o.w);
  return bitcast<vec4<i32>>(p) >> vec4<u32>(16u);
}

// Of weights from i on and codes of block b, first and second half.
fn block(i: u32, b: u32, first: vec4<u32>, second: vec4<u32>) -> vec4<f32> {
  let behind = weight[i + 4u * QUADS];
  let sums = sixteen(i, first) + sixteen(i + 2u * QUADS, second);
  let zeros = vec4<i32>(behind & vec4<u32>(15u)) * code_sums[b];
  return bitcast<vec4<f32>>(behind & vec4<u32>(~15u)) * (scales[b] * vec4<f32>(sums - zeros));
}
