// Gradient of decay = f, but 0 where a sequence begins: df = ddecay, but 0 there.
//   ddecay, df [T, C]   starts [T], where each position's sequence begins
// One invocation per four elements.
override WORKGROUP: u32 = 64;
struct Params { n4: u32, C4: u32 }
@group(0) @binding(0) var<storage, read> ddecay: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> starts: array<u32>;
@group(0) @binding(2) var<storage, read_write> df: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let n = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (n >= params.n4) { return; }
  let t = n / params.C4;
  df[n] = select(ddecay[n], vec4<f32>(0.0), starts[t] == t);
}
