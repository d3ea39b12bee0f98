// y[t, first_row + n] = x_scale[t] * weight_scale[n] * sum_c code[t, c] * trit[n, c], a tile of 4 tokens x 4 rows per invocation.
//   x [T, C] int8   weight [rows, C] ternary   y [T, N]
// Sums are in i32 and exact, over codes * (trit + 1), of which what lies behind a row of codes, their sum, is taken away.
// A matrix in several parts is multiplied by one dispatch per part, each filling its own columns of y.
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>; // of four rows
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// Where token t begins. Tokens past the edge read the last one; what they compute is not stored.
fn token(t: u32) -> u32 {
  return min(t, params.T - 1u) * (params.C4 + 4u);
}

// Four codes of a token times those of four rows.
fn products(weights: vec4<u32>, codes: u32) -> vec4<i32> {
  return vec4<i32>(dot4I8Packed(weights.x, codes), dot4I8Packed(weights.y, codes),
                   dot4I8Packed(weights.z, codes), dot4I8Packed(weights.w, codes));
}

fn store(t: u32, row: u32, start: u32, sums: vec4<i32>, scales: vec4<f32>) {
  if (t >= params.T) { return; }
  let x_scale = bitcast<f32>(x[start + params.C4]);
  let codes = bitcast<i32>(x[start + params.C4 + 1u]);
  let values = vec4<f32>(sums - codes) * (x_scale * scales);
  let i = t * params.N + params.first_row + row;
  y[i] = values.x;
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = id.x * 4u;
  let t = id.y * 4u;
  if (row >= params.rows || t >= params.T) { return; }
  let words = params.C4 / 4u;
  let x0 = token(t);
  let x1 = token(t + 1u);
  let x2 = token(t + 2u);
  let x3 = token(t + 3u);
  let w = id.x * (words + 1u);
  var y0 = vec4<i32>(0);
  var y1 = vec4<i32>(0);
  var y2 = vec4<i32>(0);
  var y3 = vec4<i32>(0);
  for (var j = 0u; j < words; j++) {
    let sixteen = weight[w + j];
    for (var k = 0u; k < 4u; k++) {
      let four = (sixteen >> vec4<u32>(2u * k)) & vec4<u32>(0x03030303u);
      let c = 4u * j + k;
      y0 += products(four, x[x0 + c]);
      y1 += products(four, x[x1 + c]);
      y2 += products(four, x[x2 + c]);
      y3 += products(four, x[x3 + c]);
    }
  }
  let scales = bitcast<vec4<f32>>(weight[w + words]);
  store(t, row, x0, y0, scales);
  store(t + 1u, row, x1, y1, scales);
  store(t + 2u, row, x2, y2, scales);
  store(t + 3u, row, x3, y3, scales);
}
