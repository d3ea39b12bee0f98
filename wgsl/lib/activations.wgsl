// The logistic function s(x) = 1 / (1 + exp(-x)), SiLU and GELU (tanh form, Hendrycks & Gimpel, arXiv:1606.08415) and
// their slopes, four at a time. Both activations are x * s(z(x)): z = x is SiLU, and 0.5 * (1 + tanh(u)) = s(2 u) makes
// z = 2 sqrt(2 / pi) * (x + 0.044715 x^3) GELU. So their slope is s + x * s * (1 - s) * z'.
// Inputs are clamped where s is 0 or 1 to f32, so that nothing overflows.
fn within(x: vec4<f32>) -> vec4<f32> { return clamp(x, vec4<f32>(-80.0), vec4<f32>(80.0)); }

fn logistic(x: vec4<f32>) -> vec4<f32> { return 1.0 / (1.0 + exp(-within(x))); }

fn logistic_slope(x: vec4<f32>) -> vec4<f32> {
  let e = exp(-within(x));
  let s = 1.0 / (1.0 + e);
  return s * (e * s);
}

fn times_logistic(x: vec4<f32>, z: vec4<f32>) -> vec4<f32> { return max(x, vec4<f32>(-80.0)) * logistic(z); }

fn times_logistic_slope(x: vec4<f32>, z: vec4<f32>, dz: vec4<f32>) -> vec4<f32> {
  return logistic(z) + within(x) * dz * logistic_slope(z);
}

fn silu(x: vec4<f32>) -> vec4<f32> { return times_logistic(x, x); }

fn silu_slope(x: vec4<f32>) -> vec4<f32> { return times_logistic_slope(x, x, vec4<f32>(1.0)); }

fn gelu_exponent(x: vec4<f32>) -> vec4<f32> {
  let v = within(x);
  return 1.5957691216057308 * (v + 0.044715 * v * v * v);
}

fn gelu(x: vec4<f32>) -> vec4<f32> { return times_logistic(x, gelu_exponent(x)); }

fn gelu_slope(x: vec4<f32>) -> vec4<f32> {
  let v = within(x);
  return times_logistic_slope(x, gelu_exponent(x), 1.5957691216057308 * (1.0 + 0.134145 * v * v));
}
