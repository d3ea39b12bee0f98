// tanh(x) to a few roundings: drivers that take it from exp lose digits near 0, where its series is used, and some give NaN
// beyond 100.
fn tanh4(x: vec4<f32>) -> vec4<f32> {
  let z = x * x;
  let near = x * (1.0 + z * (-1.0 / 3.0 + z * (2.0 / 15.0 + z * (-17.0 / 315.0 + z * (62.0 / 2835.0)))));
  return select(tanh(clamp(x, vec4<f32>(-15.0), vec4<f32>(15.0))), near, abs(x) < vec4<f32>(0.25));
}

fn tanh1(x: f32) -> f32 { return tanh4(vec4<f32>(x)).x; }
