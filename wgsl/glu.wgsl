// y = act(gate) * up, element by element; act is GELU in its tanh form or SiLU.
//   gate, up, y [T, F]
// One invocation per four elements.
// links lib/activations.wgsl
override WORKGROUP: u32 = 64;
override SILU: bool = false;
struct Params { n4: u32 }
@group(0) @binding(0) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n4) { return; }
  if (SILU) {
    y[i] = silu(gate[i]) * up[i];
  } else {
    y[i] = gelu(gate[i]) * up[i];
  }
}
