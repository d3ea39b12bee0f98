// h[t] = a[t] * h[t - 1] + b[t], channel by channel; where reverse is 1 from the last position to the first,
// h[t] = a[t + 1] * h[t + 1] + b[t], with 0 before the first step.
//   a, b, h [T, C]   starts [chunks, C] of recurrence_starts, h before each chunk, read where there are several
//   state [C] and cursor [position, ...], read and written where stateful is 1: h before the first position, taken as 0
//   where the position is 0, and afterwards h of the last
// One invocation per chunk of 64 steps and four channels. A chunk that is alone reads the state itself.
const CHUNK = 64u;
override WORKGROUP: u32 = 64;
struct Params { T: u32, C4: u32, reverse: u32, stateful: u32 }
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> starts: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> cursor: array<u32>;
@group(0) @binding(4) var<storage, read_write> state: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  if (c >= params.C4) { return; }
  let T = params.T;
  var now = vec4<f32>(0.0);
  if (T > CHUNK) {
    now = starts[id.y * params.C4 + c];
  } else if (params.stateful == 1u && cursor[0] > 0u) {
    now = state[c];
  }
  let end = min((id.y + 1u) * CHUNK, T);
  for (var step = id.y * CHUNK; step < end; step++) {
    let t = select(step, T - 1u - step, params.reverse == 1u);
    let at = min(t + params.reverse, T - 1u); // the first step of a reverse has no a of its own: what it scales is 0
    now = a[at * params.C4 + c] * now + b[t * params.C4 + c];
    h[t * params.C4 + c] = now;
  }
  if (params.stateful == 1u && end == T) { state[c] = now; }
}
