// The softmax over all keys, part by part of them (as in Flash-Decoding, Dao et al. 2023): a part's mean of the values counts as
// exp(lse), lse being the logarithm of the sum of its weights. LOWEST is the lse of a part without keys, which is to be left out.
const LOWEST = -3.0e38;
struct Whole { sum: vec4<f32>, total: f32, highest: f32 }

fn nothing() -> Whole { return Whole(vec4<f32>(0.0), 0.0, LOWEST); }

fn with_part(so_far: Whole, lse: f32, mean: vec4<f32>) -> Whole {
  let highest = max(so_far.highest, lse);
  let rescale = exp(so_far.highest - highest);
  let w = exp(lse - highest);
  return Whole(so_far.sum * rescale + w * mean, so_far.total * rescale + w, highest);
}
