// The product of a block of 32 columns of a token in int8 and of four rows in four bits. One multiplication makes two products
// and their sum: (p + 2^16 q) * (b + 2^16 a) has p a + q b in its upper half, above p b. The sum is exact: of codes * q, of which
// zero * sum(codes) is taken away.
const BLOCK_WORDS = 5u; // of a row
const NIBBLES = vec4<u32>(0x000f000fu);

// Codes of 16 columns as the multiplication wants them: 2^16 code 0 + code 2 of each word, and 2^16 code 1 + code 3.
struct Half { even: vec4<u32>, odd: vec4<u32> }

fn half_of(codes: vec4<u32>) -> Half {
  let c = bitcast<vec4<i32>>(codes);
  let even = ((c << vec4<u32>(24u)) >> vec4<u32>(8u)) + ((c << vec4<u32>(8u)) >> vec4<u32>(24u));
  let odd = (((c << vec4<u32>(16u)) >> vec4<u32>(24u)) << vec4<u32>(16u)) + (c >> vec4<u32>(24u));
  return Half(bitcast<vec4<u32>>(even), bitcast<vec4<u32>>(odd));
}

// A block of four rows: eight columns a word, then the scales with the zeros in sixteenths.
struct Words { a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, scales: vec4<f32>, sixteenths: vec4<f32> }

// Read in the order in which they lie: what comes from memory is then asked for in time.
fn words_at(i: u32) -> Words {
  let a = weight[i];
  let b = weight[i + QUADS];
  let c = weight[i + 2u * QUADS];
  let d = weight[i + 3u * QUADS];
  let last = weight[i + 4u * QUADS];
  return Words(a, b, c, d, bitcast<vec4<f32>>(last & vec4<u32>(~255u)), vec4<f32>(last & vec4<u32>(255u)));
}

fn product(w: vec4<u32>, e0: u32, o0: u32, e1: u32, o1: u32) -> vec4<u32> {
  return ((w & NIBBLES) * e0 + ((w >> vec4<u32>(4u)) & NIBBLES) * o0)
       + (((w >> vec4<u32>(8u)) & NIBBLES) * e1 + ((w >> vec4<u32>(12u)) & NIBBLES) * o1);
}

// 16 columns of four rows: eight sums of at most 2 * 15 * 127 stay in the upper half, what lies below within half of it.
fn sixteen(a: vec4<u32>, b: vec4<u32>, c: Half) -> vec4<i32> {
  let p = vec4<u32>(0x8000u) + product(a, c.even.x, c.odd.x, c.even.y, c.odd.y)
                             + product(b, c.even.z, c.odd.z, c.even.w, c.odd.w);
  return bitcast<vec4<i32>>(p) >> vec4<u32>(16u);
}

fn product_of(w: Words, c: Codes) -> vec4<f32> {
  let sums = sixteen(w.a, w.b, c.first) + sixteen(w.c, w.d, c.second);
  return w.scales * (c.scale * (vec4<f32>(sums) - w.sixteenths * (0.0625 * f32(c.sum)))); // the difference is exact
}
