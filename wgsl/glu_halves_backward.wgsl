// Gradient of y[t, f] = act(x[t, f]) * x[t, F + f]:
//   dx[t, f] = dy[t, f] * x[t, F + f] * act'(x[t, f]),   dx[t, F + f] = dy[t, f] * act(x[t, f])
//   x, dx [T, 2 F]   dy [T, F]
// One invocation per four elements of dy.
// links lib/activations.wgsl
override WORKGROUP: u32 = 64;
override SILU: bool = false;
struct Params { n4: u32, F4: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n4) { return; }
  let gate = i + i / params.F4 * params.F4; // t * 2 F + f, in fours
  let up = gate + params.F4;
  if (SILU) {
    dx[gate] = dy[i] * x[up] * silu_slope(x[gate]);
    dx[up] = dy[i] * silu(x[gate]);
  } else {
    dx[gate] = dy[i] * x[up] * gelu_slope(x[gate]);
    dx[up] = dy[i] * gelu(x[gate]);
  }
}
