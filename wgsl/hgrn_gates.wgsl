// The gates of a linear recurrence (HGRN, Qin et al., arXiv:2311.04823), element by element, s the logistic function:
//   f = lower + (1 - lower) * s(z),   input = silu(i) * (1 - f),   decay = f, but 0 where a sequence begins
//   i, z, decay, input [T, C]   lower [C], read where bounded is 1, otherwise 0
//   starts [T], where each position's sequence begins, read where packed is 1
// One invocation per four elements. 1 - f is taken as (1 - lower) * s(-z), which keeps its digits where f is near 1.
// links lib/activations.wgsl
override WORKGROUP: u32 = 64;
struct Params { n4: u32, C4: u32, bounded: u32, packed: u32 }
@group(0) @binding(0) var<storage, read> i: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> lower: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> starts: array<u32>;
@group(0) @binding(4) var<storage, read_write> decay: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> input: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let n = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (n >= params.n4) { return; }
  let t = n / params.C4;
  var bound = vec4<f32>(0.0);
  if (params.bounded == 1u) { bound = lower[n % params.C4]; }
  var f = bound + (1.0 - bound) * logistic(z[n]);
  if (params.packed == 1u && starts[t] == t) { f = vec4<f32>(0.0); }
  decay[n] = f;
  input[n] = silu(i[n]) * (1.0 - bound) * logistic(-z[n]);
}
