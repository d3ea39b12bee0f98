// The product of up to TOKENS tokens and weights in blocks of 32 columns, 4 rows per invocation: a block of weights is read once
// for all of them, and what comes of a token is to the bit the same whatever there is beside it. A kernel that links this has
//   BLOCK_WORDS, words_at(i)   the words of a block of a row; those of a block of four rows, which begins at weight[i]
//   half_of(codes)             16 codes of a token as the product wants them
//   product_of(w, c)           the product of a block of four rows and of a token
//   pair_of(b, t)              block b of token t and, where there is one, of t + 1
//   token4(t, c, C4)           four columns of a token
// A token's activations x[t] [C] in int8, rounded by each workgroup for itself, in C / 32 = BLOCKS blocks of 32 columns:
//   code = round(x / scale),   scale = max |x| / 127 of the block
// Once, for all of them: what lives from one barrier to the next is kept in memory by software adapters.
override WORKGROUP: u32 = 32;
override TOKENS: u32 = 1; // 1, 2, 4 or 8
override GATED: bool = false; // where TOKENS is 1
override SILU: bool = false;
override COMBINE: bool = false;
override BLOCKS: u32 = 1;
const QUADS = 8u; // four rows each, of which the words lie next to one another: src/kernels/tensor.ts says more
struct Params { T: u32, N: u32, first_row: u32, rows: u32, D4: u32, parts: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>; // of four rows
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// A block of a token: its codes in two halves, their sum, and what they are multiples of.
struct Codes { first: Half, second: Half, sum: i32, scale: f32 }

// Blocks of all tokens lie together.
var<workgroup> codes: array<vec4<u32>, 2u * BLOCKS * TOKENS>; // 16 each, two to a block
var<workgroup> behind: array<vec2<u32>, BLOCKS * TOKENS>; // their sum, and their scale

fn round4(v: vec4<f32>, per_unit: f32) -> vec4<i32> { return vec4<i32>(round(v * per_unit)); }

fn packed4(c: vec4<i32>) -> u32 {
  let bytes = vec4<u32>(c) & vec4<u32>(255u);
  return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// To be called by all lanes of a workgroup, for tokens from first_token on. Past the last it is rounded again; not stored.
fn round_blocks(lane: u32, lanes: u32, first_token: u32) {
  for (var i = lane; i < BLOCKS * TOKENS; i += lanes) {
    let token = min(first_token + i % TOKENS, params.T - 1u);
    let c = i / TOKENS * 8u;
    let C4 = BLOCKS * 8u;
    let v0 = token4(token, c, C4);
    let v1 = token4(token, c + 1u, C4);
    let v2 = token4(token, c + 2u, C4);
    let v3 = token4(token, c + 3u, C4);
    let v4 = token4(token, c + 4u, C4);
    let v5 = token4(token, c + 5u, C4);
    let v6 = token4(token, c + 6u, C4);
    let v7 = token4(token, c + 7u, C4);
    let highest = max(max(max(abs(v0), abs(v1)), max(abs(v2), abs(v3))), max(max(abs(v4), abs(v5)), max(abs(v6), abs(v7))));
    let most = max(max(highest.x, highest.y), max(highest.z, highest.w));
    let per_unit = select(0.0, 127.0 / most, most > 1.0e-30);
    let c0 = round4(v0, per_unit);
    let c1 = round4(v1, per_unit);
    let c2 = round4(v2, per_unit);
    let c3 = round4(v3, per_unit);
    let c4 = round4(v4, per_unit);
    let c5 = round4(v5, per_unit);
    let c6 = round4(v6, per_unit);
    let c7 = round4(v7, per_unit);
    codes[2u * i] = vec4<u32>(packed4(c0), packed4(c1), packed4(c2), packed4(c3));
    codes[2u * i + 1u] = vec4<u32>(packed4(c4), packed4(c5), packed4(c6), packed4(c7));
    let sums = ((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7));
    behind[i] = vec2<u32>(bitcast<u32>((sums.x + sums.y) + (sums.z + sums.w)), bitcast<u32>(most / 127.0));
  }
  workgroupBarrier();
}

// Where four rows begin: those of a group of QUADS times four lie together.
fn quad_at(quad: u32) -> u32 { return (quad - quad % QUADS) * (BLOCKS * BLOCK_WORDS) + quad % QUADS; }

fn store(t: u32, row: u32, values: vec4<f32>) {
  if (t >= params.T) { return; }
  let i = t * params.N + params.first_row + row;
  if (row < params.rows) { y[i] = values.x; }
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}

// To be called by all lanes of a workgroup, quad being which four rows are theirs.
fn four_rows(quad: u32, lane: u32, first_token: u32) {
  let row = quad * 4u;
  let kept = min(quad, (params.rows - 1u) / 4u); // past the edge the last rows; not stored
  var at = quad_at(kept);
  var other = quad_at(kept + params.rows / 4u);
  var y0 = vec4<f32>(0.0);
  var y1 = vec4<f32>(0.0);
  var y2 = vec4<f32>(0.0);
  var y3 = vec4<f32>(0.0);
  var y4 = vec4<f32>(0.0);
  var y5 = vec4<f32>(0.0);
  var y6 = vec4<f32>(0.0);
  var y7 = vec4<f32>(0.0);
  var up = vec4<f32>(0.0);
  round_blocks(lane, WORKGROUP, first_token);
  for (var b = 0u; b < BLOCKS; b++) {
    let w = words_at(at);
    let c0 = pair_of(b, 0u);
    y0 += product_of(w, c0[0]);
    if (GATED) { up += product_of(words_at(other), c0[0]); }
    if (TOKENS > 1u) { y1 += product_of(w, c0[1]); }
    if (TOKENS > 2u) {
      let c2 = pair_of(b, 2u);
      y2 += product_of(w, c2[0]);
      y3 += product_of(w, c2[1]);
    }
    if (TOKENS > 4u) {
      let c4 = pair_of(b, 4u);
      let c6 = pair_of(b, 6u);
      y4 += product_of(w, c4[0]);
      y5 += product_of(w, c4[1]);
      y6 += product_of(w, c6[0]);
      y7 += product_of(w, c6[1]);
    }
    at += BLOCK_WORDS * QUADS;
    other += BLOCK_WORDS * QUADS;
  }
  if (GATED) {
    if (SILU) { y0 = silu(y0) * up; } else { y0 = gelu(y0) * up; }
  }
  store(first_token, row, y0);
  if (TOKENS > 1u) { store(first_token + 1u, row, y1); }
  if (TOKENS > 2u) {
    store(first_token + 2u, row, y2);
    store(first_token + 3u, row, y3);
  }
  if (TOKENS > 4u) {
    store(first_token + 4u, row, y4);
    store(first_token + 5u, row, y5);
    store(first_token + 6u, row, y6);
    store(first_token + 7u, row, y7);
  }
}
