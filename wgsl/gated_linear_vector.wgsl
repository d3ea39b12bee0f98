// y[n] = act(x . weight[n]) * (x . weight[F + n]): gated_linear for a single token, 2 elements of y per invocation, as more rows
// at once were no faster; act is GELU in its tanh form or SiLU.
//   x [1, C]   weight [2 F, C], rows of gates and then of what they gate   y [1, F]
// links lib/weight_*.wgsl
// links lib/activations.wgsl
override WORKGROUP: u32 = 32;
override SILU: bool = false;
struct Params { C4: u32, F2: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> y: array<vec2<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.F2) { return; }
  let C4 = params.C4;
  let row = id.x * 2u;
  let g0 = weight_row(row, C4);
  let g1 = weight_row(row + 1u, C4);
  let u0 = weight_row(params.F2 * 2u + row, C4);
  let u1 = weight_row(params.F2 * 2u + row + 1u, C4);
  var sums = vec4<f32>(0.0);
  for (var c = 0u; c < C4; c++) {
    let v = x[c];
    sums += vec4<f32>(dot(v, weight4(g0, c)), dot(v, weight4(g1, c)),
                      dot(v, weight4(u0, c)), dot(v, weight4(u1, c)));
  }
  if (SILU) {
    y[id.x] = silu(sums).xy * sums.zw;
  } else {
    y[id.x] = gelu(sums).xy * sums.zw;
  }
}
