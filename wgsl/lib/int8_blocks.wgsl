// The product of a token and weights in blocks of 32 columns, 4 rows per invocation. A kernel that links this has BLOCK_WORDS,
// the words of a block of a row; codes_of(b), the codes of block b of x in two halves; and block(i, b, first, second), what these
// give with the block of four rows that begins at weight[i].
// A token's activations x [1, C] in int8, rounded by each workgroup for itself, in C / 32 = BLOCKS blocks of 32 columns:
//   code = round(x / scale),   scale = max |x| / 127 of the block
// Once, for all of them: what lives from one barrier to the next is kept in memory by software adapters.
override WORKGROUP: u32 = 32;
override GATED: bool = false;
override SILU: bool = false;
override BLOCKS: u32 = 1;
override CODES: u32 = 2; // twice BLOCKS
const QUADS = 8u; // four rows each, of which the words lie next to one another: src/kernels/tensor.ts says more
struct Params { first_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<vec4<u32>>; // of four rows
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> codes: array<vec4<u32>, CODES>; // 16 each, two to a block
var<workgroup> scales: array<f32, BLOCKS>;
var<workgroup> code_sums: array<i32, BLOCKS>;

fn round4(v: vec4<f32>, per_unit: f32) -> vec4<i32> { return vec4<i32>(round(v * per_unit)); }

fn packed4(c: vec4<i32>) -> u32 {
  let bytes = vec4<u32>(c) & vec4<u32>(255u);
  return bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
}

// To be called by all lanes of a workgroup.
fn round_blocks(lane: u32, lanes: u32) {
  for (var b = lane; b < BLOCKS; b += lanes) {
    let at = b * 8u;
    var most = 0.0;
    for (var i = at; i < at + 8u; i++) {
      let v = abs(x[i]);
      most = max(most, max(max(v.x, v.y), max(v.z, v.w)));
    }
    let per_unit = select(0.0, 127.0 / most, most > 1.0e-30);
    var sums = vec4<i32>(0);
    for (var half = 0u; half < 2u; half++) {
      let i = at + 4u * half;
      let c0 = round4(x[i], per_unit);
      let c1 = round4(x[i + 1u], per_unit);
      let c2 = round4(x[i + 2u], per_unit);
      let c3 = round4(x[i + 3u], per_unit);
      sums += (c0 + c1) + (c2 + c3);
      codes[2u * b + half] = vec4<u32>(packed4(c0), packed4(c1), packed4(c2), packed4(c3));
    }
    scales[b] = most / 127.0;
    code_sums[b] = (sums.x + sums.y) + (sums.z + sums.w);
  }
  workgroupBarrier();
}

// Where four rows begin: those of a group of QUADS times four lie together.
fn quad_at(quad: u32) -> u32 { return (quad - quad % QUADS) * (BLOCKS * BLOCK_WORDS) + quad % QUADS; }

// To be called by all lanes of a workgroup, quad being which four rows are theirs.
fn four_rows(quad: u32, lane: u32) {
  let row = quad * 4u;
  let kept = min(quad, (params.rows - 1u) / 4u); // past the edge the last rows; not stored
  var at = quad_at(kept);
  var other = quad_at(kept + params.rows / 4u);
  var values = vec4<f32>(0.0);
  var up = vec4<f32>(0.0);
  round_blocks(lane, WORKGROUP);
  for (var b = 0u; b < BLOCKS; b++) {
    let c = codes_of(b);
    values += block(at, b, c[0], c[1]);
    at += BLOCK_WORDS * QUADS;
    if (GATED) {
      up += block(other, b, c[0], c[1]);
      other += BLOCK_WORDS * QUADS;
    }
  }
  if (GATED) {
    if (SILU) { values = silu(values) * up; } else { values = gelu(values) * up; }
  }
  let i = params.first_row + row;
  if (row < params.rows) { y[i] = values.x; }
  if (row + 1u < params.rows) { y[i + 1u] = values.y; }
  if (row + 2u < params.rows) { y[i + 2u] = values.z; }
  if (row + 3u < params.rows) { y[i + 3u] = values.w; }
}
