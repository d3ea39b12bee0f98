// Gradient of y = sum of rows 1 to layer of s = softmax(weight), the softmax being over the rows of each column:
//   dweight[l] = s[l] * ((1 where 1 <= l <= layer, otherwise 0) - y) * dy, added to dweight where accumulate is 1
//   weight, dweight [L, C]   y, dy [C]
// One invocation per four columns.
// links lib/weight_*.wgsl
override WORKGROUP: u32 = 64;
struct Params { L: u32, C4: u32, layer: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

fn bound(l: u32, c: u32) -> vec4<f32> { return weight4(weight_row(l, params.C4), c); }

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.C4) { return; }
  var highest = bound(0u, c);
  for (var l = 1u; l < params.L; l++) { highest = max(highest, bound(l, c)); }
  var total = vec4<f32>(0.0);
  for (var l = 0u; l < params.L; l++) { total += exp(bound(l, c) - highest); }
  for (var l = 0u; l < params.L; l++) {
    let s = exp(bound(l, c) - highest) / total;
    let counted = select(0.0, 1.0, l > 0u && l <= params.layer);
    var sum = s * (counted - y[c]) * dy[c];
    if (params.accumulate == 1u) { sum += dweight[l * params.C4 + c]; }
    dweight[l * params.C4 + c] = sum;
  }
}
