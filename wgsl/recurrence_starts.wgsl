// h before each chunk of recurrence, channel by channel: starts[k] = products[k - 1] * starts[k - 1] + ends[k - 1].
//   products, ends [chunks, C] of recurrence_chunks   starts [chunks, C]
//   state [C] and cursor [position, ...], read where stateful is 1: the first, taken as 0 where the position is 0
// One invocation per four channels.
override WORKGROUP: u32 = 64;
struct Params { chunks: u32, C4: u32, stateful: u32 }
@group(0) @binding(0) var<storage, read> products: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> ends: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> cursor: array<u32>;
@group(0) @binding(3) var<storage, read> state: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> starts: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.C4) { return; }
  var now = vec4<f32>(0.0);
  if (params.stateful == 1u && cursor[0] > 0u) { now = state[c]; }
  for (var i = c; i < params.chunks * params.C4; i += params.C4) {
    starts[i] = now;
    now = products[i] * now + ends[i];
  }
}
