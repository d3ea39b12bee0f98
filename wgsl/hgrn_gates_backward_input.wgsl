// Gradients of input = silu(i) * (1 - f) with f = lower + (1 - lower) * s(z), s being the logistic function:
//   di = dinput * (1 - f) * silu'(i),   df = -dinput * silu(i)
//   i, z, dinput, di, df [T, C]   lower [C], read where bounded is 1, otherwise 0
// One invocation per four elements.
// links lib/activations.wgsl
override WORKGROUP: u32 = 64;
struct Params { n4: u32, C4: u32, bounded: u32 }
@group(0) @binding(0) var<storage, read> i: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> lower: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> dinput: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> di: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> df: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let n = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (n >= params.n4) { return; }
  var bound = vec4<f32>(0.0);
  if (params.bounded == 1u) { bound = lower[n % params.C4]; }
  di[n] = dinput[n] * (1.0 - bound) * logistic(-z[n]) * silu_slope(i[n]);
  df[n] = -dinput[n] * silu(i[n]);
}
