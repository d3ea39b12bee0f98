// Gradients of y = act(gate) * up: dgate = dy * up * act'(gate), dup = dy * act(gate).
//   gate, up, dy, dgate, dup [T, F]
// One invocation per four elements.
// links lib/activations.wgsl
override WORKGROUP: u32 = 64;
override SILU: bool = false;
struct Params { n4: u32 }
@group(0) @binding(0) var<storage, read> gate: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> up: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dgate: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dup: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n4) { return; }
  let x = gate[i];
  if (SILU) {
    dgate[i] = dy[i] * up[i] * silu_slope(x);
    dup[i] = dy[i] * silu(x);
  } else {
    dgate[i] = dy[i] * up[i] * gelu_slope(x);
    dup[i] = dy[i] * gelu(x);
  }
}
