// y[t, k R + j] = gates[t, k] * act(sum_i weight[k R + j, i] * a[t, k R + i]): for each of K experts its own matrix [R, R] and
// its gate (DCN-M, Wang et al., arXiv:2008.13535). act is tanh, or nothing where activate is 0.
//   a, y [T, K R]   gates [T, K], not read where gated is 0   weight [K R, R]
// One invocation per token and four rows of the weight.
// links lib/weight_*.wgsl
// links lib/tanh.wgsl
override WORKGROUP: u32 = 64;
struct Params { T: u32, K: u32, R4: u32, activate: u32, gated: u32 }
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let R4 = params.R4;
  let W4 = params.K * R4;
  if (i >= params.T * W4) { return; }
  let t = i / W4;
  let k = i % W4 / R4;
  let start = t * W4 + k * R4;
  let row = i % W4 * 4u;
  let w0 = weight_row(row, R4);
  let w1 = weight_row(row + 1u, R4);
  let w2 = weight_row(row + 2u, R4);
  let w3 = weight_row(row + 3u, R4);
  var sum = vec4<f32>(0.0);
  for (var c = 0u; c < R4; c++) {
    let v = a[start + c];
    sum += vec4<f32>(dot(v, weight4(w0, c)), dot(v, weight4(w1, c)), dot(v, weight4(w2, c)), dot(v, weight4(w3, c)));
  }
  if (params.activate != 0u) { sum = tanh4(sum); }
  if (params.gated != 0u) { sum *= gates[t * params.K + k]; }
  y[i] = sum;
}
