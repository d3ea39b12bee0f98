// Gradients of y = act(gate) * up: dgate = dy * up * act'(gate), dup = dy * act(gate).
//   gate, up, dy, dgate, dup [T, F]
// Both activations are x * s(z(x)) with s the logistic function: z = x is SiLU, and 0.5 * (1 + tanh(u)) = s(2 u) makes
// z = 2 sqrt(2 / pi) * (x + 0.044715 x^3) GELU in its tanh form. So act' = s + x * s * (1 - s) * z'.
// One invocation per four elements. Inputs are clamped where s is 0 or 1 to f32, so that nothing overflows.
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
  let x = clamp(gate[i], vec4<f32>(-80.0), vec4<f32>(80.0));
  var z = x;
  var dz = vec4<f32>(1.0);
  if (!SILU) {
    z = clamp(1.5957691216057308 * (x + 0.044715 * x * x * x), vec4<f32>(-80.0), vec4<f32>(80.0));
    dz = 1.5957691216057308 * (1.0 + 0.134145 * x * x);
  }
  let e = exp(-z);
  let s = 1.0 / (1.0 + e);
  dgate[i] = dy[i] * up[i] * (s + x * dz * (s * (e * s)));
  dup[i] = dy[i] * max(gate[i], vec4<f32>(-80.0)) * s;
}
