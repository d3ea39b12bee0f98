// y[t, c] = code[t, c] * scale[t], four columns per invocation.
//   x [T, C] int8: C4 words of four codes, then scale, then their sum   y [T, C]
const LANES = 64u;
struct Params { T: u32, C4: u32 }
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * LANES + lane;
  let t = i / params.C4;
  if (t >= params.T) { return; }
  let start = t * (params.C4 + 4u);
  let word = bitcast<i32>(x[start + i % params.C4]);
  let codes = vec4<i32>(word << 24u, word << 16u, word << 8u, word) >> vec4<u32>(24u);
  y[i] = vec4<f32>(codes) * bitcast<f32>(x[start + params.C4]);
}
