// The product of a block of 32 columns of a token in int8 and of four rows in eight bits: sums are of integers, and exact.
const BLOCK_WORDS = 9u; // of a row

struct Half { codes: vec4<u32> } // of 16 columns

fn half_of(codes: vec4<u32>) -> Half { return Half(codes); }

// A block of four rows: four columns a word, then the scales.
struct Words {
  a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, d: vec4<u32>, e: vec4<u32>, f: vec4<u32>, g: vec4<u32>, h: vec4<u32>,
  scales: vec4<f32>,
}

fn words_at(i: u32) -> Words {
  return Words(weight[i], weight[i + QUADS], weight[i + 2u * QUADS], weight[i + 3u * QUADS],
               weight[i + 4u * QUADS], weight[i + 5u * QUADS], weight[i + 6u * QUADS], weight[i + 7u * QUADS],
               bitcast<vec4<f32>>(weight[i + 8u * QUADS]));
}

fn four(w: vec4<u32>, c: u32) -> vec4<i32> {
  return vec4<i32>(dot4I8Packed(w.x, c), dot4I8Packed(w.y, c), dot4I8Packed(w.z, c), dot4I8Packed(w.w, c));
}

fn product_of(w: Words, c: Codes) -> vec4<f32> {
  let first = (four(w.a, c.first.codes.x) + four(w.b, c.first.codes.y))
            + (four(w.c, c.first.codes.z) + four(w.d, c.first.codes.w));
  let second = (four(w.e, c.second.codes.x) + four(w.f, c.second.codes.y))
             + (four(w.g, c.second.codes.z) + four(w.h, c.second.codes.w));
  return w.scales * (c.scale * vec4<f32>(first + second));
}
