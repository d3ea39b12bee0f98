// y[t, first_row + n] = x_scale[t] * weight_scale[n] * sum_c code[t, c] * trit[n, c]: ternary_linear where multiplications of
// 32 bits are quicker than dot products of 8, TOKENS tokens x 8 rows per invocation.
//   x [T, C] int8   weight [rows, C] ternary   y [T, N]
// or, with TOKENS = 1 and `own` = N / 4 instead of 0, of each token and rows of its own, N = rows, a multiple of 4:
//   x [T, C] int8   weight [T*N, C] ternary   y [T, N]
// Sums are exact, over codes * (trit + 1), of which the sum of the codes is taken away. One multiplication makes two
// products and their sum: (p + 2^16 q) * (b + 2^16 a) has p a + q b in its upper half, above p b.
override WORKGROUP: u32 = 32;
override TOKENS: u32 = 1; // 1, 2 or 4
const HALVES = vec4<u32>(0x00030003u);
const BYTE1 = vec4<u32>(8u);
const BYTE2 = vec4<u32>(16u);
const BYTE3 = vec4<u32>(24u);
// Words until sums leave the upper half: each adds 8 of at most 2 * 256. What lies below stays within half of it.
const WORDS = 4u;
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32, own: u32 }
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

// Codes as the multiplication wants them: 2^16 code 0 + code 2 of each word, and 2^16 code 1 + code 3.
fn even(codes: vec4<i32>) -> vec4<u32> {
  return bitcast<vec4<u32>>(((codes << BYTE3) >> BYTE1) + ((codes << BYTE1) >> BYTE3));
}

fn odd(codes: vec4<i32>) -> vec4<u32> {
  return bitcast<vec4<u32>>((((codes << BYTE2) >> BYTE3) << BYTE2) + (codes >> BYTE3));
}

// Where a token begins. Tokens past the edge read the last one; what they compute is not stored.
fn token(t: u32) -> u32 { return min(t, params.T - 1u) * (params.C4 / 4u + 1u); }

fn upper(p: vec4<u32>) -> vec4<i32> { return bitcast<vec4<i32>>(p) >> vec4<u32>(16u); }

fn store4(t: u32, row: u32, sums: vec4<i32>, scales: vec4<u32>) {
  let behind = t * (params.C4 + 4u) + params.C4;
  let codes = bitcast<i32>(x[behind + 1u]);
  let values = vec4<f32>(sums - codes) * (bitcast<f32>(x[behind]) * bitcast<vec4<f32>>(scales));
  let i = t * params.N + params.first_row + row;
  if (row < params.rows) { y[i] = values.x; }
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}

fn store(t: u32, row: u32, u_sums: vec4<i32>, u_scales: vec4<u32>, v_sums: vec4<i32>, v_scales: vec4<u32>) {
  if (t >= params.T) { return; }
  store4(t, row, u_sums, u_scales);
  store4(t, row + 4u, v_sums, v_scales);
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 8u;
  if (row >= params.rows) { return; }
  let words = params.C4 / 4u;
  let t = id.y * TOKENS;
  let x0 = token(t);
  let x1 = token(t + 1u);
  let x2 = token(t + 2u);
  let x3 = token(t + 3u);
  // Where four rows begin, and the next four. Past the edge these are the first; what they compute is not stored.
  let u = (id.y * params.own + id.x * 2u) * (words + 1u);
  let v = select(u, u + words + 1u, row + 4u < params.rows);
  var u0 = vec4<i32>(0);
  var u1 = vec4<i32>(0);
  var u2 = vec4<i32>(0);
  var u3 = vec4<i32>(0);
  var v0 = vec4<i32>(0);
  var v1 = vec4<i32>(0);
  var v2 = vec4<i32>(0);
  var v3 = vec4<i32>(0);
  for (var first = 0u; first < words; first += WORDS) {
    var p0 = vec4<u32>(0x8000u); // rounds what lies below away
    var p1 = vec4<u32>(0x8000u);
    var p2 = vec4<u32>(0x8000u);
    var p3 = vec4<u32>(0x8000u);
    var q0 = vec4<u32>(0x8000u);
    var q1 = vec4<u32>(0x8000u);
    var q2 = vec4<u32>(0x8000u);
    var q3 = vec4<u32>(0x8000u);
    for (var j = first; j < min(first + WORDS, words); j++) {
      let four = weight[u + j];
      let next = weight[v + j];
      let c0 = bitcast<vec4<i32>>(x4[x0 + j]);
      p0 += products(four, even(c0), odd(c0));
      q0 += products(next, even(c0), odd(c0));
      if (TOKENS > 1u) {
        let c1 = bitcast<vec4<i32>>(x4[x1 + j]);
        p1 += products(four, even(c1), odd(c1));
        q1 += products(next, even(c1), odd(c1));
      }
      if (TOKENS > 2u) {
        let c2 = bitcast<vec4<i32>>(x4[x2 + j]);
        p2 += products(four, even(c2), odd(c2));
        q2 += products(next, even(c2), odd(c2));
        let c3 = bitcast<vec4<i32>>(x4[x3 + j]);
        p3 += products(four, even(c3), odd(c3));
        q3 += products(next, even(c3), odd(c3));
      }
    }
    u0 += upper(p0);
    u1 += upper(p1);
    u2 += upper(p2);
    u3 += upper(p3);
    v0 += upper(q0);
    v1 += upper(q1);
    v2 += upper(q2);
    v3 += upper(q3);
  }
  let u_scales = weight[u + words];
  let v_scales = weight[v + words];
  store(t, row, u0, u_scales, v0, v_scales);
  if (TOKENS > 1u) { store(t + 1u, row, u1, u_scales, v1, v_scales); }
  if (TOKENS > 2u) {
    store(t + 2u, row, u2, u_scales, v2, v_scales);
    store(t + 3u, row, u3, u_scales, v3, v_scales);
  }
}
