// Draws the next token of sequence b from row b of the logits and makes it the next step's input, so that no step waits for the
// host. A sequence whose position is NO_POSITION is none: nothing of its row changes.
//   logits [n, V]   settings [B, 8]   seen [B, ceil(V / 32)], a bit per token of prompt and answer
//   ids [B]: ids[b] becomes the token   cursor [B, 2], (position, count): both advance by one
//   output [B, context]: output[b, count] = token, where there is room
// In this order, as in transformers: repetition penalty (arXiv:1909.05858), temperature, top-k, top-p (arXiv:1904.09751)
// on what top-k left, min-p (arXiv:2407.01082). Temperature 0 takes the largest logit, the lowest id among equals.
// One workgroup per row. The filters are one threshold on the logits, found digit by digit over their bits as ordered integers
// (a radix select): by count for top-k, by probability mass for top-p. Masses are summed as integers in units of 2^-31,
// so their sum does not depend on the order. The draw is the largest of logit + Gumbel noise, which is a sample of the
// softmax; the noise is a hash of seed, position and token.
const LANES = 256u;
const LOWEST = -3.0e38;
const MASS_ONE = 2147483648.0;
const NO_POSITION = 0xffffffffu;
struct Params { V: u32, context: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> settings: array<u32>;
@group(0) @binding(2) var<storage, read_write> seen: array<u32>;
@group(0) @binding(3) var<storage, read_write> ids: array<u32>;
@group(0) @binding(4) var<storage, read_write> cursor: array<u32>;
@group(0) @binding(5) var<storage, read_write> output: array<u32>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> values: array<f32, LANES>;
var<workgroup> tokens: array<u32, LANES>;
var<workgroup> bins: array<atomic<u32>, 256>;
var<workgroup> chosen: array<u32, 3>; // digit, what lies above it, and the mass or count of the whole set

// Where the row's logits and its bits of `seen` begin, how many tokens it looks at, and its settings.
var<private> first_logit: u32;
var<private> first_word: u32;
var<private> end: u32;
var<private> temperature: f32;
var<private> penalty: f32;

// The logit of token i after penalty and temperature.
fn value(i: u32) -> f32 {
  var x = logits[first_logit + i];
  if (penalty != 1.0 && ((seen[first_word + (i >> 5u)] >> (i & 31u)) & 1u) == 1u) {
    x = select(x * penalty, x / penalty, x > 0.0);
  }
  return x / select(1.0, max(temperature, 1.0e-30), temperature > 0.0); // not so small that x becomes infinite
}

// The bits of x as an integer that orders as x does.
fn key(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
}

// The finaliser of MurmurHash3 (A. Appleby, public domain), a bijection that mixes every bit.
fn mix(x: u32) -> u32 {
  var h = x;
  h = (h ^ (h >> 16u)) * 0x85ebca6bu;
  h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
  return h ^ (h >> 16u);
}

// The noise of a row at a step, of which that of each token is made.
fn noise(seed: vec2<u32>, step: u32) -> u32 {
  return mix(step + mix(seed.x + mix(seed.y)));
}

// Gumbel noise for token i of a step: -log(e), with e = -log(1 - w) and w uniform in (0, 1). It is the small w that win,
// and there log(1 - w) errs by more than it is (WGSL allows 2^-21, of either sign): a series instead.
fn gumbel(i: u32, step_noise: u32) -> f32 {
  let bits = mix(i + step_noise);
  let w = clamp(f32(bits) / 4294967296.0, 1.0e-10, 0.99999994);
  let series = w * (1.0 + w * (0.5 + w * (0.33333333 + w * 0.25)));
  return -log(select(-log(1.0 - w), series, w < 0.0625));
}

fn mass(x: f32, highest: f32, total: f32) -> u32 {
  return u32(exp(x - highest) / total * MASS_ONE);
}

// The largest key such that the tokens at or above it, among those with keys >= floor_key, weigh at least `share` of
// all of them (by_mass) or number at least `count`.
fn threshold(lane: u32, floor_key: u32, by_mass: bool, count: u32, share: f32, highest: f32, total: f32) -> u32 {
  var prefix = 0u;
  var above = 0u;
  var wanted = count;
  for (var digit = 0u; digit < 4u; digit++) {
    let shift = 24u - digit * 8u;
    atomicStore(&bins[lane], 0u);
    workgroupBarrier();
    for (var i = lane; i < end; i += LANES) {
      let x = value(i);
      let bits = key(x);
      // The digits above this one must match; a shift by 32 is undefined, so two steps of it.
      if (bits >= floor_key && ((bits ^ prefix) >> shift) >> 8u == 0u) {
        if (by_mass) {
          atomicAdd(&bins[(bits >> shift) & 255u], mass(x, highest, total));
        } else {
          atomicAdd(&bins[(bits >> shift) & 255u], 1u);
        }
      }
    }
    workgroupBarrier();
    if (lane == 0u) {
      if (by_mass && digit == 0u) {
        var all = 0u;
        for (var b = 0u; b < 256u; b++) { all += atomicLoad(&bins[b]); }
        chosen[2] = max(1u, u32(min(share * f32(all), 4.0e9)));
      }
      if (by_mass) { wanted = chosen[2]; }
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
    }
    workgroupBarrier();
    prefix |= chosen[0] << shift;
    above = chosen[1];
    workgroupBarrier();
  }
  return prefix;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let sequence = group.x;
  let position = cursor[2u * sequence];
  let own = sequence * 8u;
  let warm = bitcast<f32>(settings[own]) > 0.0; // not by way of a private variable, as barriers hang on it
  temperature = bitcast<f32>(settings[own]);
  let top_k = settings[own + 1u];
  let top_p = bitcast<f32>(settings[own + 2u]);
  let min_p = bitcast<f32>(settings[own + 3u]);
  penalty = bitcast<f32>(settings[own + 4u]);
  first_logit = sequence * params.V;
  first_word = sequence * ((params.V + 31u) / 32u);
  end = select(params.V, 0u, position == NO_POSITION);
  let step_noise = noise(vec2<u32>(settings[own + 5u], settings[own + 6u]), position + settings[own + 7u]);
  var best = LOWEST;
  var token = 0xffffffffu;
  for (var i = lane; i < end; i += LANES) {
    let x = value(i);
    if (x > best || token == 0xffffffffu) { best = x; token = i; }
  }

  if (warm) {
    values[lane] = best;
    workgroupBarrier();
    var highest = LOWEST;
    for (var i = 0u; i < LANES; i++) { highest = max(highest, values[i]); }
    var lowest_key = 0u;
    if (top_k > 0u && top_k < params.V) {
      lowest_key = threshold(lane, 0u, false, top_k, 0.0, highest, 1.0);
    }
    if (top_p < 1.0) {
      workgroupBarrier();
      var sum = 0.0;
      for (var i = lane; i < end; i += LANES) {
        let x = value(i);
        if (key(x) >= lowest_key) { sum += exp(x - highest); }
      }
      values[lane] = sum;
      workgroupBarrier();
      var total = 0.0;
      for (var i = 0u; i < LANES; i++) { total += values[i]; }
      lowest_key = threshold(lane, lowest_key, true, 0u, top_p, highest, total);
    }
    if (min_p > 0.0) { lowest_key = max(lowest_key, key(highest + log(min_p))); }
    lowest_key = min(lowest_key, key(highest)); // the likeliest token always stays
    best = LOWEST;
    token = 0xffffffffu;
    for (var i = lane; i < end; i += LANES) {
      let x = value(i);
      if (key(x) >= lowest_key) {
        let noisy = x + gumbel(i, step_noise);
        if (noisy > best || token == 0xffffffffu) { best = noisy; token = i; }
      }
    }
    workgroupBarrier();
  }

  values[lane] = best;
  tokens[lane] = token;
  workgroupBarrier();
  if (lane == 0u && position != NO_POSITION) {
    for (var i = 1u; i < LANES; i++) {
      let other = tokens[i];
      if (other == 0xffffffffu) { continue; }
      if (token == 0xffffffffu || values[i] > best || (values[i] == best && other < token)) {
        best = values[i];
        token = other;
      }
    }
    token = min(token, params.V - 1u); // NaN everywhere must not become an id out of range
    let drawn = cursor[2u * sequence + 1u];
    ids[sequence] = token;
    if (drawn < params.context) { output[sequence * params.context + drawn] = token; }
    seen[first_word + (token >> 5u)] |= 1u << (token & 31u);
    cursor[2u * sequence] = position + 1u;
    cursor[2u * sequence + 1u] = drawn + 1u;
  }
}
