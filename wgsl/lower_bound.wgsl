// y = sum of rows 1 to layer of softmax(weight), the softmax being over the rows of each column.
//   weight [L, C]   y [C]
// One invocation per four columns.
// links lib/weight_*.wgsl
override WORKGROUP: u32 = 64;
struct Params { L: u32, C4: u32, layer: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

fn bound(l: u32, c: u32) -> vec4<f32> { return weight4(weight_row(l, params.C4), c); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.C4) { return; }
  var highest = bound(0u, c);
  for (var l = 1u; l < params.L; l++) { highest = max(highest, bound(l, c)); }
  var total = vec4<f32>(0.0);
  var sum = vec4<f32>(0.0);
  for (var l = 0u; l < params.L; l++) {
    let e = exp(bound(l, c) - highest);
    total += e;
    if (l > 0u && l <= params.layer) { sum += e; }
  }
  y[c] = sum / total;
}
