// One step of recurrence for each of B sequences, each from a state of its own: h[b] = a[b] * state[b] + b[b], which is the
// state afterwards.
//   a, b, h [B, C]   cursor [B or more, (position, ...)]   state [B, C], taken as 0 where the position is 0
// A row whose position is NONE has no sequence: its state stays. One invocation per four channels of a row.
const NONE = 0xffffffffu;
override WORKGROUP: u32 = 64;
struct Params { C4: u32 }
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> cursor: array<u32>;
@group(0) @binding(3) var<storage, read_write> state: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let position = cursor[id.y * 2u];
  if (id.x >= params.C4 || position == NONE) { return; }
  let i = id.y * params.C4 + id.x;
  var before = vec4<f32>(0.0);
  if (position > 0u) { before = state[i]; }
  let now = a[i] * before + b[i];
  h[i] = now;
  state[i] = now;
}
