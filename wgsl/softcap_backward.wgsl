// dx = dy * (1 - (y / cap)^2), element by element: the gradient of y = cap * tanh(x / cap).
//   y, dy, dx [n]
// One invocation per element: n is a vocabulary, which need not be a multiple of four.
override WORKGROUP: u32 = 64;
struct Params { n: u32, cap: f32 }
@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n) { return; }
  let t = y[i] / params.cap;
  dx[i] = dy[i] * (1.0 - t) * (1.0 + t);
}
