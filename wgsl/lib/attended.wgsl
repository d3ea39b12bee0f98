// Four columns of a token as a product reads them: those of x [T, C], or where COMBINE is set what attention over parts of the keys
// gives, put together on the way, as attend_combine.wgsl does it:
//   x [parts, T, H, D]   lse [parts, T, H], LOWEST for a part without keys, whose x may be anything   C = H * D
// A kernel that links this has x, lse, params with T, D4 and parts, and the override COMBINE beside its others: were it declared here,
// behind them, Naga 29 would panic. It links lib/parts.wgsl too.

fn token4(t: u32, c: u32, C4: u32) -> vec4<f32> {
  let at = t * C4 + c;
  if (COMBINE) {
    let heads = C4 / params.D4;
    var whole = nothing();
    for (var p = 0u; p < params.parts; p++) {
      let here = lse[(p * params.T + t) * heads + c / params.D4];
      if (here > LOWEST) { whole = with_part(whole, here, x[p * params.T * C4 + at]); }
    }
    return whole.sum / whole.total;
  }
  return x[at];
}
