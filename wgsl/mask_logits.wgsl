// masked[b, v] = logits[b, v] where bit v % 32 of mask[b, v / 32] is set, else LOWEST, which no softmax sees and no filter
// keeps while another token is left.
//   logits, masked [n, V]   mask [B, ceil(V / 32)], of which the first n rows count
// One invocation per token; a workgroup's are of one row.
override WORKGROUP: u32 = 64;
const LOWEST = -3.0e38;
struct Params { V: u32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> mask: array<u32>;
@group(0) @binding(2) var<storage, read_write> masked: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let v = (group.y * groups.x + group.x) * WORKGROUP + lane;
  if (v >= params.V) { return; }
  let allowed = ((mask[group.z * ((params.V + 31u) / 32u) + (v >> 5u)] >> (v & 31u)) & 1u) == 1u;
  let at = group.z * params.V + v;
  masked[at] = select(LOWEST, logits[at], allowed);
}
