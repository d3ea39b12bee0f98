// y[t, first_row + n] = sum_c x[t, c] * weight[n, c]: linear for few tokens, 4 rows at a time, each read once for all tokens.
//   x [T, C], T at most TOKENS   weight [rows, C]   y [T, N]
// or, where GATED, of weights that are rows of a gate and then as many more: y[t, n] = act(x[t] . gate[n]) * (x[t] . up[n]), 2
// elements at a time, as more rows at once were no faster; act is GELU in its tanh form or SiLU
//   weight [2 * rows, C], rows even   y [T, N], N = rows
// or, where COMBINE, of what attention over parts of the keys gives: lib/attended.wgsl says more. Each workgroup puts it together
// for itself, in HELD = TOKENS * C / 4 elements of its memory.
// SPLIT neighbours share rows: each takes every SPLIT-th four columns, so that neighbours read neighbours as a GPU wants it, and
// what they have is added up in workgroup memory. On a CPU a row is best read by one, with SPLIT = 1 and no barrier.
// links lib/weight_*.wgsl
// links lib/activations.wgsl
// links lib/attended.wgsl
// links lib/parts.wgsl
override WORKGROUP: u32 = 32; // a multiple of SPLIT
override SPLIT: u32 = 1;
override TOKENS: u32 = 1; // 1, 2, 4 or 8
override GATED: bool = false;
override SILU: bool = false;
override COMBINE: bool = false;
override HELD: u32 = 1;
struct Params { T: u32, C4: u32, N: u32, first_row: u32, rows: u32, D4: u32, parts: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;
var<workgroup> shares: array<vec4<f32>, WORKGROUP * TOKENS>;
var<workgroup> held: array<vec4<f32>, HELD>;

// Where a token begins in x, a row in weight. Those past the edge read the last one; what comes of it is not stored.
fn token(t: u32) -> u32 { return min(t, params.T - 1u) * params.C4; }
fn columns4(i: u32) -> vec4<f32> {
  if (COMBINE) { return held[i]; }
  return x[i];
}
fn row_at(row: u32) -> WeightRow { return weight_row(min(row, params.rows - 1u), params.C4); }
fn up_at(row: u32) -> WeightRow { return weight_row(params.rows + min(row, params.rows - 1u), params.C4); }

fn dots(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>) -> vec4<f32> {
  return vec4<f32>(dot(x, a), dot(x, b), dot(x, c), dot(x, d));
}

fn store(t: u32, row: u32, values: vec4<f32>) {
  if (t >= params.T || row >= params.rows) { return; }
  let i = t * params.N + params.first_row + row;
  if (GATED) {
    let y2 = select(gelu(values), silu(values), SILU).xy * values.zw;
    y[i] = y2.x;
    y[i + 1u] = y2.y;
    return;
  }
  y[i] = values.x;
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if (COMBINE) {
    for (var i = lane; i < HELD; i += WORKGROUP) {
      held[i] = token4(min(i / params.C4, params.T - 1u), i % params.C4, params.C4);
    }
    workgroupBarrier();
  }
  let part = id.x % SPLIT;
  let row = id.x / SPLIT * select(4u, 2u, GATED);
  var w0 = row_at(row);
  var w1 = row_at(row + 1u);
  var w2 = row_at(row + 2u);
  var w3 = row_at(row + 3u);
  if (GATED) {
    w2 = up_at(row);
    w3 = up_at(row + 1u);
  }
  let x1 = token(1u);
  let x2 = token(2u);
  let x3 = token(3u);
  let x4 = token(4u);
  let x5 = token(5u);
  let x6 = token(6u);
  let x7 = token(7u);
  var y0 = vec4<f32>(0.0);
  var y1 = vec4<f32>(0.0);
  var y2 = vec4<f32>(0.0);
  var y3 = vec4<f32>(0.0);
  var y4 = vec4<f32>(0.0);
  var y5 = vec4<f32>(0.0);
  var y6 = vec4<f32>(0.0);
  var y7 = vec4<f32>(0.0);
  let end = select(0u, params.C4, row < params.rows);
  for (var c = part; c < end; c += SPLIT) {
    let a = weight4(w0, c);
    let b = weight4(w1, c);
    let d = weight4(w2, c);
    let e = weight4(w3, c);
    y0 += dots(columns4(c), a, b, d, e);
    if (TOKENS > 1u) { y1 += dots(columns4(x1 + c), a, b, d, e); }
    if (TOKENS > 2u) {
      y2 += dots(columns4(x2 + c), a, b, d, e);
      y3 += dots(columns4(x3 + c), a, b, d, e);
    }
    if (TOKENS > 4u) {
      y4 += dots(columns4(x4 + c), a, b, d, e);
      y5 += dots(columns4(x5 + c), a, b, d, e);
      y6 += dots(columns4(x6 + c), a, b, d, e);
      y7 += dots(columns4(x7 + c), a, b, d, e);
    }
  }
  if (SPLIT > 1u) {
    shares[lane] = y0;
    if (TOKENS > 1u) { shares[WORKGROUP + lane] = y1; }
    if (TOKENS > 2u) {
      shares[2u * WORKGROUP + lane] = y2;
      shares[3u * WORKGROUP + lane] = y3;
    }
    if (TOKENS > 4u) {
      shares[4u * WORKGROUP + lane] = y4;
      shares[5u * WORKGROUP + lane] = y5;
      shares[6u * WORKGROUP + lane] = y6;
      shares[7u * WORKGROUP + lane] = y7;
    }
    workgroupBarrier();
    for (var t = part; t < min(params.T, TOKENS); t += SPLIT) {
      var sum = vec4<f32>(0.0);
      for (var i = 0u; i < SPLIT; i++) { sum += shares[t * WORKGROUP + lane - part + i]; }
      store(t, row, sum);
    }
    return;
  }
  store(0u, row, y0);
  if (TOKENS > 1u) { store(1u, row, y1); }
  if (TOKENS > 2u) {
    store(2u, row, y2);
    store(3u, row, y3);
  }
  if (TOKENS > 4u) {
    store(4u, row, y4);
    store(5u, row, y5);
    store(6u, row, y6);
    store(7u, row, y7);
  }
}
