// dx[t, k R + i] = sum_j weight[k R + j, i] * dy[t, k R + j]: back through each expert's own matrix [R, R].
//   dy, dx [T, K R]   weight [K R, R]
// One invocation per token and four columns.
// links lib/weight_*.wgsl
override WORKGROUP: u32 = 64;
struct Params { T: u32, K: u32, R4: u32 }
@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let i = (group.y * groups.x + group.x) * WORKGROUP + lane;
  let R4 = params.R4;
  let W4 = params.K * R4;
  if (i >= params.T * W4) { return; }
  let c = i % R4;
  let first = i % W4 - c; // of the expert's rows, in fours
  let start = i - c;
  var sum = vec4<f32>(0.0);
  for (var j = 0u; j < R4; j++) {
    let d = dy[start + j];
    let row = (first + j) * 4u;
    sum += d.x * weight4(weight_row(row, R4), c);
    sum += d.y * weight4(weight_row(row + 1u, R4), c);
    sum += d.z * weight4(weight_row(row + 2u, R4), c);
    sum += d.w * weight4(weight_row(row + 3u, R4), c);
  }
  dx[i] = sum;
}
