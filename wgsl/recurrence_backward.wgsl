// Gradient of h[t] = a[t] * h[t - 1] + b[t] with respect to a, given that with respect to b:
//   da[t] = db[t] * h[t - 1], and 0 for t = 0
//   h, db, da [T, C]
// One invocation per four elements.
override WORKGROUP: u32 = 64;
struct Params { n4: u32, C4: u32 }
@group(0) @binding(0) var<storage, read> h: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> db: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> da: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (i >= params.n4) { return; }
  if (i < params.C4) {
    da[i] = vec4<f32>(0.0);
  } else {
    da[i] = db[i] * h[i - params.C4];
  }
}
