// One step of gradient descent with momentum (Sutskever et al., "On the importance of initialization and momentum in
// deep learning", 2013, in PyTorch's form), in place, element by element, with g = factor * gradient + decay * weight:
//   velocity = momentum * velocity + g
//   weight -= rate * velocity, or with Nesterov's look ahead rate * (g + momentum * velocity)
//   weight, gradient [rows, columns]
//   velocity [rows, active_columns]: of the weight's columns [first_column, first_column + active_columns)
//   settings [rate]   clip [norm, factor] of global_norm
// One invocation per active element. A factor below 0 means that the gradients are not finite: nothing is written.
override WORKGROUP: u32 = 64;
struct Params { n: u32, columns: u32, first_column: u32, active_columns: u32, momentum: f32, nesterov: u32, decay: f32 }
@group(0) @binding(0) var<storage, read_write> weight: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> velocity: array<f32>;
@group(0) @binding(3) var<storage, read> settings: array<f32>;
@group(0) @binding(4) var<storage, read> clip: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let factor = clip[1];
  if (i >= params.n || factor < 0.0) { return; }
  let at = i / params.active_columns * params.columns + params.first_column + i % params.active_columns;
  let g = factor * gradient[at] + params.decay * weight[at];
  let speed = params.momentum * velocity[i] + g;
  velocity[i] = speed;
  weight[at] -= settings[0] * select(speed, g + params.momentum * speed, params.nesterov == 1u);
}
