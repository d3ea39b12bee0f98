// y[first_row + n] = x_scale * weight_scale[n] * sum_c code[c] * trit[n, c]: ternary_linear for a single token, 8 rows per
// invocation.
//   x [1, C] int8   weight [rows, C] ternary   y [1, N]
// or M such products, of one token each, in the dispatch's y, with rows = N, a multiple of 4 where M > 1:
//   x [M, C] int8   weight [M*N, C] ternary   y [M, N]
// Sums are exact, over codes * (trit + 1), of which the sum of the codes is taken away. One multiplication makes two
// products and their sum: (p + 2^16 q) * (b + 2^16 a) has p a + q b in its upper half, above p b.
override WORKGROUP: u32 = 32;
const HALVES = vec4<u32>(0x00030003u);
const BYTE1 = vec4<u32>(8u);
const BYTE2 = vec4<u32>(16u);
const BYTE3 = vec4<u32>(24u);
// Words until sums leave the upper half: each adds 8 of at most 2 * 256. What lies below stays within half of it.
const WORDS = 4u;
struct Params { C4: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> x4: array<vec4<u32>>; // x again: loads are dear, and here one gives 16 codes
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>; // of four rows
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// 16 codes times those of a row, summed up.
fn product(word: u32, even: vec4<u32>, odd: vec4<u32>) -> u32 {
  let trits = vec4<u32>(word) >> vec4<u32>(0u, 2u, 4u, 6u);
  let sums = (trits & HALVES) * even + ((trits >> BYTE1) & HALVES) * odd;
  return (sums.x + sums.y) + (sums.z + sums.w);
}

fn products(words: vec4<u32>, even: vec4<u32>, odd: vec4<u32>) -> vec4<u32> {
  return vec4<u32>(product(words.x, even, odd), product(words.y, even, odd),
                   product(words.z, even, odd), product(words.w, even, odd));
}

fn store(m: u32, row: u32, sums: vec4<i32>, scales: vec4<u32>) {
  let behind = m * (params.C4 + 4u) + params.C4;
  let codes = bitcast<i32>(x[behind + 1u]);
  let values = vec4<f32>(sums - codes) * (bitcast<f32>(x[behind]) * bitcast<vec4<f32>>(scales));
  let i = m * params.rows + params.first_row + row;
  if (row < params.rows) { y[i] = values.x; }
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 8u;
  if (row >= params.rows) { return; }
  let words = params.C4 / 4u;
  let token = id.y * (words + 1u);
  // Where four rows begin, and the next four. Past the edge these are the first; what they compute is not stored.
  let u = (id.y * (params.rows / 4u) + id.x * 2u) * (words + 1u);
  let v = select(u, u + words + 1u, row + 4u < params.rows);
  var u_sum = vec4<i32>(0);
  var v_sum = vec4<i32>(0);
  for (var first = 0u; first < words; first += WORDS) {
    var p = vec4<u32>(0x8000u); // rounds what lies below away
    var q = vec4<u32>(0x8000u);
    for (var j = first; j < min(first + WORDS, words); j++) {
      let codes = bitcast<vec4<i32>>(x4[token + j]);
      let even = ((codes << BYTE3) >> BYTE1) + ((codes << BYTE1) >> BYTE3); // 2^16 code 0 + code 2 of each word
      let odd = (((codes << BYTE2) >> BYTE3) << BYTE2) + (codes >> BYTE3); // 2^16 code 1 + code 3
      p += products(weight[u + j], bitcast<vec4<u32>>(even), bitcast<vec4<u32>>(odd));
      q += products(weight[v + j], bitcast<vec4<u32>>(even), bitcast<vec4<u32>>(odd));
    }
    u_sum += bitcast<vec4<i32>>(p) >> vec4<u32>(16u);
    v_sum += bitcast<vec4<i32>>(q) >> vec4<u32>(16u);
  }
  store(id.y, row, u_sum, weight[u + words]);
  store(id.y, row + 4u, v_sum, weight[v + words]);
}
