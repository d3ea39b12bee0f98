// y[t, k R + j] = gates[t, k] * x[t, k R + j].
//   x, y [T, K R]   gates [T, K]
// One invocation per four elements.
override WORKGROUP: u32 = 64;
struct Params { n4: u32, R4: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i < params.n4) { y[i] = gates[i / params.R4] * x[i]; }
}
