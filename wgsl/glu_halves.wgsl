// y[t, f] = act(x[t, f]) * x[t, F + f]; act is GELU in its tanh form or SiLU.
//   x [T, 2 F], each row a gate and then what it gates   y [T, F]
// One invocation per four elements of y.
// links lib/activations.wgsl
override WORKGROUP: u32 = 64;
override SILU: bool = false;
struct Params { n4: u32, F4: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n4) { return; }
  let gate = i + i / params.F4 * params.F4; // t * 2 F + f, in fours
  let up = gate + params.F4;
  if (SILU) {
    y[i] = silu(x[gate]) * x[up];
  } else {
    y[i] = gelu(x[gate]) * x[up];
  }
}
