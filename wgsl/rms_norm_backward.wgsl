// Gradient of rms_norm with respect to x. With n = x / rms(x) and g = dy * (offset + weight):
//   dx[t] = (g[t] - n[t] * mean(g[t] * n[t])) / rms(x[t]),   scale[t] = 1 / rms(x[t]) = 1 / sqrt(mean(x[t]^2) + eps)
//   x, dy, dx [T, C]   weight [C]   scale [T], for rms_norm_backward_weight
// One workgroup per row where rows are few; from MANY on, one per 8 rows with 8 neighbouring lanes to each.
// links lib/weight_*.wgsl
const LANES = 64u;
const MANY = 256u;
struct Params { T: u32, C4: u32, eps: f32, offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> dx: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> partial: array<vec2<f32>, LANES>;

fn gradient(row: u32, c: u32) -> vec4<f32> {
  return dy[row + c] * (params.offset + weight4(weight_row(0u, params.C4), c));
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let step = select(8u, LANES, params.T < MANY); // lanes to a row
  let first = lane % step;
  let t = (group.y * groups.x + group.x) * (LANES / step) + lane / step;
  let row = min(t, params.T - 1u) * params.C4; // rows past the end repeat the last; what they give is not stored
  var sums = vec2<f32>(0.0); // of x^2 and of g * x
  for (var c = first; c < params.C4; c += step) {
    let v = x[row + c];
    sums += vec2<f32>(dot(v, v), dot(v, gradient(row, c)));
  }
  partial[lane] = sums;
  workgroupBarrier();
  if (t >= params.T) { return; }
  sums = vec2<f32>(0.0);
  for (var i = lane - first; i < lane - first + step; i++) { sums += partial[i]; }
  let C = f32(params.C4 * 4u);
  let r = 1.0 / sqrt(sums.x / C + params.eps);
  let along = r * sums.y / C; // mean(g * n)
  for (var c = first; c < params.C4; c += step) {
    dx[row + c] = r * (gradient(row, c) - x[row + c] * r * along);
  }
  if (first == 0u) { scale[t] = r; }
}
