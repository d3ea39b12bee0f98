// The K largest logits of each row so far, in any order, with their tokens; among equals those of the lowest tokens.
//   logits [T, V]   values, ids [T, K]
// The vocabulary comes in blocks, one dispatch after the other: this one's logits are those of tokens [first, first + V).
// Before it values and ids hold the best of the tokens below first, min(K, first) of them, and after it min(K, first + V).
// One workgroup per row. Candidates are those held and the columns that beat the least of them, which after a few blocks
// are few. What is kept is all candidates from the K-th best on, and that one is found digit by digit over its bits (a radix
// select): the logit's as an ordered integer, then the inverted token's, so that no two are equal.
const LANES = 64u;
const MOST = 256u; // K at most
const ROOM = 1024u;
struct Params { V: u32, K: u32, first: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> least: array<vec2<u32>, LANES>;
var<workgroup> columns: array<u32, ROOM>; // that are candidates, where there is room for all of them
var<workgroup> found: atomic<u32>;
var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> chosen: array<u32, 2>; // a digit, and how many candidates lie above all digits so far
var<workgroup> kept_values: array<f32, MOST>;
var<workgroup> kept_ids: array<u32, MOST>;

// What orders tokens: the bits of the logit as an integer, and 24 bits that fall as the token rises.
fn rank(x: f32, id: u32) -> vec2<u32> {
  let bits = bitcast<u32>(select(x, 0.0, x == 0.0)); // -0 equals 0
  return vec2<u32>(select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u), ~id & 0xffffffu);
}

fn below(a: vec2<u32>, b: vec2<u32>) -> bool {
  return a.x < b.x || (a.x == b.x && a.y < b.y);
}

// Candidates are those held, then columns: the listed ones, or all.
fn column(i: u32, listed: bool) -> u32 {
  if (listed) { return columns[i]; }
  return i;
}

fn value(t: u32, i: u32, held: u32, listed: bool) -> f32 {
  if (i < held) { return values[t * params.K + i]; }
  return logits[t * params.V + column(i - held, listed)];
}

fn token(t: u32, i: u32, held: u32, listed: bool) -> u32 {
  if (i < held) { return ids[t * params.K + i]; }
  return params.first + column(i - held, listed);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let held = min(params.K, params.first);
  let wanted = min(params.K, held + params.V);

  // While there is room, any column is better than nothing.
  var beaten = select(vec2<u32>(0u, 0u), vec2<u32>(0xffffffffu, 0xffffffffu), held == params.K);
  for (var k = lane; k < held; k += LANES) {
    let r = rank(values[t * params.K + k], ids[t * params.K + k]);
    if (below(r, beaten)) { beaten = r; }
  }
  least[lane] = beaten;
  if (lane == 0u) { atomicStore(&found, 0u); }
  workgroupBarrier();
  for (var i = 0u; i < LANES; i++) {
    if (below(least[i], beaten)) { beaten = least[i]; }
  }
  for (var v = lane; v < params.V; v += LANES) {
    if (below(beaten, rank(logits[t * params.V + v], params.first + v))) {
      let slot = atomicAdd(&found, 1u);
      if (slot < ROOM) { columns[slot] = v; }
    }
  }
  workgroupBarrier();
  let listed = atomicLoad(&found) <= ROOM;
  let count = held + select(params.V, atomicLoad(&found), listed);

  var last = vec2<u32>(0u, 0u); // the rank of the K-th best
  var above = 0u;
  for (var digit = 0u; digit < 7u; digit++) {
    let by_logit = digit < 4u;
    let shift = select(48u - digit * 8u, 24u - digit * 8u, by_logit);
    for (var b = lane; b < 256u; b += LANES) { atomicStore(&bins[b], 0u); }
    workgroupBarrier();
    for (var i = lane; i < count; i += LANES) {
      let r = rank(value(t, i, held, listed), token(t, i, held, listed));
      let bits = select(r.y, r.x, by_logit);
      let different = bits ^ select(last.y, last.x, by_logit);
      // The digits above this one must match; a shift by 32 is undefined, so two steps of it.
      if ((different >> shift) >> 8u == 0u && (by_logit || r.x == last.x)) {
        atomicAdd(&bins[(bits >> shift) & 255u], 1u);
      }
    }
    workgroupBarrier();
    if (lane == 0u) {
      var sum = above;
      var b = 255u;
      loop {
        let here = atomicLoad(&bins[b]);
        if (sum + here >= wanted || b == 0u) { break; }
        sum += here;
        b--;
      }
      chosen[0] = b;
      chosen[1] = sum;
      atomicStore(&found, 0u);
    }
    workgroupBarrier();
    if (by_logit) { last.x |= chosen[0] << shift; } else { last.y |= chosen[0] << shift; }
    above = chosen[1];
  }
  for (var i = lane; i < count; i += LANES) {
    let x = value(t, i, held, listed);
    let id = token(t, i, held, listed);
    if (below(rank(x, id), last)) { continue; }
    let slot = atomicAdd(&found, 1u);
    if (slot < MOST) {
      kept_values[slot] = x;
      kept_ids[slot] = id;
    }
  }
  workgroupBarrier();
  for (var k = lane; k < wanted; k += LANES) {
    values[t * params.K + k] = kept_values[k];
    ids[t * params.K + k] = kept_ids[k];
  }
}
