// Gradient of f = lower + (1 - lower) * s(z) with respect to z, s being the logistic function:
//   dz = df * (1 - lower) * s(z) * (1 - s(z))
//   z, df, dz [T, C]   lower [C], read where bounded is 1, otherwise 0
// One invocation per four elements.
// links lib/activations.wgsl
override WORKGROUP: u32 = 64;
struct Params { n4: u32, C4: u32, bounded: u32 }
@group(0) @binding(0) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> lower: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> df: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dz: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let n = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (n >= params.n4) { return; }
  var bound = vec4<f32>(0.0);
  if (params.bounded == 1u) { bound = lower[n % params.C4]; }
  dz[n] = df[n] * (1.0 - bound) * logistic_slope(z[n]);
}
