// y = cap * tanh(x / cap), element by element (Gemma 2, arXiv:2408.00118, section 2).
//   x, y [n]
// One invocation per element: n is a vocabulary, which need not be a multiple of four.
// links lib/tanh.wgsl
override WORKGROUP: u32 = 64;
struct Params { n: u32, cap: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i < params.n) { y[i] = params.cap * tanh1(x[i] / params.cap); }
}
