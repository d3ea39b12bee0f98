// One step of gradient descent, in place, element by element: weight -= rate * (factor * gradient + decay * weight).
//   weight, gradient [rows, columns], of which [first_column, first_column + active_columns) are active
//   settings [rate]   clip [norm, factor] of global_norm
// One invocation per active element. A factor below 0 means that the gradients are not finite: nothing is written.
override WORKGROUP: u32 = 64;
struct Params { n: u32, columns: u32, first_column: u32, active_columns: u32, decay: f32 }
@group(0) @binding(0) var<storage, read_write> weight: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> settings: array<f32>;
@group(0) @binding(3) var<storage, read> clip: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let factor = clip[1];
  if (i >= params.n || factor < 0.0) { return; }
  let at = i / params.active_columns * params.columns + params.first_column + i % params.active_columns;
  weight[at] -= settings[0] * (factor * gradient[at] + params.decay * weight[at]);
}
