// What a chunk of 64 steps of recurrence makes of the h before it, channel by channel: h' = products * h + ends. The
// products are those of its a, the ends what it comes to from 0.
//   a, b [T, C]   products, ends [chunks, C]
// One invocation per chunk and four channels.
const CHUNK = 64u;
override WORKGROUP: u32 = 64;
struct Params { T: u32, C4: u32, reverse: u32 }
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> products: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> ends: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.C4) { return; }
  let T = params.T;
  var product = vec4<f32>(1.0);
  var now = vec4<f32>(0.0);
  let end = min((id.y + 1u) * CHUNK, T);
  for (var step = id.y * CHUNK; step < end; step++) {
    let t = select(step, T - 1u - step, params.reverse == 1u);
    let scale = a[min(t + params.reverse, T - 1u) * params.C4 + c]; // as in recurrence
    product *= scale;
    now = scale * now + b[t * params.C4 + c];
  }
  products[id.y * params.C4 + c] = product;
  ends[id.y * params.C4 + c] = now;
}
