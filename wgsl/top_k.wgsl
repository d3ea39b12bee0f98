// The K largest logits of each row so far, in any order, with their tokens; among equals those of the lowest tokens.
//   logits [T, V]   values, ids [T, K]
// The vocabulary comes in blocks, one dispatch after the other: this one's logits are those of tokens [first, first + V).
// Before it values and ids hold the best of the tokens below first, min(K, first) of them, and after it min(K, first + V).
// One workgroup per row. What is kept is all candidates from the K-th best on, and that one is found digit by digit over its
// bits (a radix select): the logit's as an ordered integer, then the inverted token's, so that no two are equal.
const LANES = 256u;
const MOST = 256u; // K at most
struct Params { V: u32, K: u32, first: u32 }
struct Candidate { key: u32, order: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> ids: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> chosen: array<u32, 2>; // a digit, and how many candidates lie above all digits so far
var<workgroup> kept: atomic<u32>;
var<workgroup> kept_values: array<f32, MOST>;
var<workgroup> kept_ids: array<u32, MOST>;

// Candidates are those kept before, then the block's columns.
fn value(t: u32, i: u32, held: u32) -> f32 {
  if (i < held) { return values[t * params.K + i]; }
  return logits[t * params.V + i - held];
}

fn token(t: u32, i: u32, held: u32) -> u32 {
  if (i < held) { return ids[t * params.K + i]; }
  return params.first + i - held;
}

// What orders candidates: the bits of the logit as an integer, and 24 bits that fall as the token rises.
fn candidate(t: u32, i: u32, held: u32) -> Candidate {
  let x = value(t, i, held);
  let bits = bitcast<u32>(select(x, 0.0, x == 0.0)); // -0 equals 0
  let key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
  return Candidate(key, ~token(t, i, held) & 0xffffffu);
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.x;
  let held = min(params.K, params.first);
  let count = held + params.V;
  let wanted = min(params.K, count);
  var least = Candidate(0u, 0u);
  var above = 0u;
  for (var digit = 0u; digit < 7u; digit++) {
    let by_key = digit < 4u;
    let shift = select(48u - digit * 8u, 24u - digit * 8u, by_key);
    atomicStore(&bins[lane], 0u);
    workgroupBarrier();
    for (var i = lane; i < count; i += LANES) {
      let c = candidate(t, i, held);
      let bits = select(c.order, c.key, by_key);
      let different = bits ^ select(least.order, least.key, by_key);
      // The digits above this one must match; a shift by 32 is undefined, so two steps of it.
      if ((different >> shift) >> 8u == 0u && (by_key || c.key == least.key)) {
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
      atomicStore(&kept, 0u);
    }
    workgroupBarrier();
    if (by_key) { least.key |= chosen[0] << shift; } else { least.order |= chosen[0] << shift; }
    above = chosen[1];
    workgroupBarrier();
  }
  for (var i = lane; i < count; i += LANES) {
    let c = candidate(t, i, held);
    if (c.key > least.key || (c.key == least.key && c.order >= least.order)) {
      let slot = atomicAdd(&kept, 1u);
      if (slot < MOST) {
        kept_values[slot] = value(t, i, held);
        kept_ids[slot] = token(t, i, held);
      }
    }
  }
  workgroupBarrier();
  for (var k = lane; k < wanted; k += LANES) {
    values[t * params.K + k] = kept_values[k];
    ids[t * params.K + k] = kept_ids[k];
  }
}
