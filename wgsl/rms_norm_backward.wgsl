// Gradient of rms_norm with respect to x, one workgroup per row. With n = x / rms(x) and g = dy * (offset + weight):
//   dx[t] = (g[t] - n[t] * mean(g[t] * n[t])) / rms(x[t]),   scale[t] = 1 / rms(x[t]) = 1 / sqrt(mean(x[t]^2) + eps)
//   x, dy, dx [T, C]   weight [C]   scale [T], for rms_norm_backward_weight
// links lib/weight_*.wgsl
const LANES = 64u;
struct Params { T: u32, C4: u32, eps: f32, offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<Weight4>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> partial: array<vec2<f32>, LANES>;

fn gradient(row: u32, c: u32) -> vec4<f32> {
  return dy[row + c] * (params.offset + unpack4(weight[c]));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let t = group.y * groups.x + group.x;
  if (t >= params.T) { return; } // the whole workgroup, so the barrier stays uniform
  let row = t * params.C4;
  var sums = vec2<f32>(0.0); // of x^2 and of g * x
  for (var c = lane; c < params.C4; c += LANES) {
    let v = x[row + c];
    sums += vec2<f32>(dot(v, v), dot(v, gradient(row, c)));
  }
  partial[lane] = sums;
  workgroupBarrier();
  sums = vec2<f32>(0.0);
  for (var i = 0u; i < LANES; i++) { sums += partial[i]; }
  let C = f32(params.C4 * 4u);
  let r = 1.0 / sqrt(sums.x / C + params.eps);
  let along = r * sums.y / C; // mean(g * n)
  for (var c = lane; c < params.C4; c += LANES) {
    dx[row + c] = r * (gradient(row, c) - x[row + c] * r * along);
  }
  if (lane == 0u) { scale[t] = r; }
}
