// Rows weight_row + n of a matrix, n < rows, to four bits, into rows into_row + n of `into`, as src/kernels/tensor.ts lays them.
// A block of 32 columns has a scale and a zero, of which
//   code = clamp(round(w / scale + zero), 0, 15),   w ~ scale * (code - zero)
// m saying how much a column matters, the scale and the zero that fit codes q best leave the least sum of m times squared errors:
// those of the straight line through the points (q, w), the zero rounded to a 16th and from 0 to 15 15/16, then
//   scale = sum(m w v) / sum(m v^2),   v = q - zero,   which explains sum(m w v)^2 / sum(m v^2) of sum(m w^2)
// Codes are tried of 16 ranges, from low + range * (0.04 i - 0.02) to high - range * (0.04 j - 0.02), i and j from 0 to 3, low and
// high being the block's least and greatest weight, or 0 where that is beyond; and of each, those of what fits it best.
//   weight [weight_row + rows or more, C]   matters [C]   into [into_row + rows or more, C] q4
// One invocation per block, which it keeps: a pass over memory for each try would take several times as long.
// links lib/weight_*.wgsl
const LANES = 64u;
const ENDS = 4u;
const TURNS = 2u;
const SIXTEENTHS = 16.0;
const LEAST = 1.0e-30; // ranges below it are nothing
struct Params { C4: u32, weight_row: u32, into_row: u32, rows: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read> matters: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> into: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

// 32 columns.
struct Block { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32>, e: vec4<f32>, f: vec4<f32>, g: vec4<f32>, h: vec4<f32> }

struct Grid { scale: f32, zero: f32, explained: f32 }

fn codes(w: vec4<f32>, per_unit: f32, zero: f32) -> vec4<f32> {
  return clamp(round(w * per_unit + zero), vec4<f32>(0.0), vec4<f32>(15.0));
}

fn total(v: Block) -> f32 {
  return dot((v.a + v.b) + (v.c + v.d) + ((v.e + v.f) + (v.g + v.h)), vec4<f32>(1.0));
}

// sum(m q), sum(m q^2) and sum(m q w) of four columns.
fn sums(w: vec4<f32>, m: vec4<f32>, per_unit: f32, zero: f32) -> vec3<f32> {
  let q = codes(w, per_unit, zero);
  let counted = m * q;
  return vec3<f32>(dot(m, q), dot(counted, q), dot(counted, w));
}

// What fits the codes of a grid best; sum_m is sum(m), sum_w sum(m w).
fn fit(w: Block, m: Block, sum_m: f32, sum_w: f32, grid: Grid) -> Grid {
  let unit = 1.0 / grid.scale;
  let z = grid.zero;
  let s = ((sums(w.a, m.a, unit, z) + sums(w.b, m.b, unit, z)) + (sums(w.c, m.c, unit, z) + sums(w.d, m.d, unit, z)))
        + ((sums(w.e, m.e, unit, z) + sums(w.f, m.f, unit, z)) + (sums(w.g, m.g, unit, z) + sums(w.h, m.h, unit, z)));
  let together = s.z - sum_w * (s.x / sum_m);
  let apart = s.y - s.x * (s.x / sum_m);
  var zero = grid.zero;
  if (together > 0.0) { zero = (s.x - sum_w * (apart / together)) / sum_m; }
  zero = clamp(round(SIXTEENTHS * zero), 0.0, 255.0) / SIXTEENTHS;
  let wv = s.z - zero * sum_w;
  let of_zero = zero * zero * sum_m;
  let vv = s.y - 2.0 * zero * s.x + of_zero;
  if (!(wv > 0.0 && vv > 1.0e-5 * (s.y + of_zero))) { return Grid(grid.scale, grid.zero, 0.0); } // what is left is rounding
  return Grid(wv / vv, zero, wv * (wv / vv));
}

fn best_of(w: Block, m: Block, low: f32, high: f32) -> Grid {
  let sum_m = total(m);
  let sum_w = total(Block(m.a * w.a, m.b * w.b, m.c * w.c, m.d * w.d, m.e * w.e, m.f * w.f, m.g * w.g, m.h * w.h));
  let range = high - low;
  var best = Grid(0.0, 0.0, 0.0);
  for (var i = 0u; i < ENDS * ENDS; i++) {
    let from_low = low + range * (0.04 * f32(i % ENDS) - 0.02);
    let to_high = high - range * (0.04 * f32(i / ENDS) - 0.02);
    let scale = (to_high - from_low) / 15.0;
    var grid = Grid(scale, -from_low / scale, 0.0);
    for (var turn = 0u; turn < TURNS; turn++) {
      grid = fit(w, m, sum_m, sum_w, grid);
      if (grid.explained > best.explained) { best = grid; }
    }
  }
  return best;
}

// Eight columns as a word has them.
fn word_of(first: vec4<f32>, second: vec4<f32>, per_unit: f32, zero: f32) -> u32 {
  let p = vec4<u32>(codes(first, per_unit, zero));
  let q = vec4<u32>(codes(second, per_unit, zero));
  return (p.x | (p.y << 4u) | (p.z << 16u) | (p.w << 20u)) | ((q.x | (q.y << 4u) | (q.z << 16u) | (q.w << 20u)) << 8u);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * LANES + lane;
  let blocks = params.C4 / 8u;
  let n = i / blocks;
  let b = i % blocks;
  if (n >= params.rows) { return; }
  let row = weight_row(params.weight_row + n, params.C4);
  let at = 8u * b;
  let w = Block(weight4(row, at), weight4(row, at + 1u), weight4(row, at + 2u), weight4(row, at + 3u),
                weight4(row, at + 4u), weight4(row, at + 5u), weight4(row, at + 6u), weight4(row, at + 7u));
  let m = Block(matters[at], matters[at + 1u], matters[at + 2u], matters[at + 3u],
                matters[at + 4u], matters[at + 5u], matters[at + 6u], matters[at + 7u]);
  let least = min(min(min(w.a, w.b), min(w.c, w.d)), min(min(w.e, w.f), min(w.g, w.h)));
  let most = max(max(max(w.a, w.b), max(w.c, w.d)), max(max(w.e, w.f), max(w.g, w.h)));
  let low = min(0.0, min(min(least.x, least.y), min(least.z, least.w)));
  let high = max(0.0, max(max(most.x, most.y), max(most.z, most.w)));
  var best = Grid(0.0, 0.0, 0.0);
  if (high - low > LEAST) { best = best_of(w, m, low, high); }
  let scale = bitcast<f32>(bitcast<u32>(best.scale) & ~255u); // where the zero will be
  let per_unit = select(0.0, 1.0 / scale, best.explained > 0.0);
  let into_row = params.into_row + n;
  let to = (into_row & ~31u) * (blocks * 5u) + (into_row & 31u) + 160u * b;
  into[to] = word_of(w.a, w.b, per_unit, best.zero);
  into[to + 32u] = word_of(w.c, w.d, per_unit, best.zero);
  into[to + 64u] = word_of(w.e, w.f, per_unit, best.zero);
  into[to + 96u] = word_of(w.g, w.h, per_unit, best.zero);
  into[to + 128u] = bitcast<u32>(scale) | u32(SIXTEENTHS * best.zero);
}
