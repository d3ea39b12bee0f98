// Four weights stored as f32.
alias Weight4 = vec4<f32>;
fn unpack4(w: Weight4) -> vec4<f32> { return w; }
