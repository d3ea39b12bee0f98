// y[t] = int8 codes of v = x[t] / sqrt(mean(x[t]^2) + eps) * weight, so that the largest |v| becomes 127 (arXiv:2402.17764):
//   code = clamp(round(v / scale), -128, 127),   scale = max(max |v|, 1e-5) / 127
//   x [T, C]   weight [C]   y [T, C] int8: C4 words of four codes, then scale, then the sum of the codes
// or, where each is 1, the one row of x under the weights of T norms: x [1, C]   weight [T, C]
// One workgroup per row where rows are few; from MANY on, one per 8 rows with 8 neighbouring lanes to each.
// links lib/weight_*.wgsl
const LANES = 64u;
const MANY = 256u;
struct Params { T: u32, C4: u32, each: u32, eps: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partial: array<vec2<f32>, LANES>;
var<workgroup> code_sums: array<i32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let C4 = params.C4;
  let step = select(8u, LANES, params.T < MANY); // lanes to a row
  let first = lane % step;
  let t = (group.y * groups.x + group.x) * (LANES / step) + lane / step;
  let last = min(t, params.T - 1u); // rows past the end repeat the last; what they give is not stored
  let row = select(last, 0u, params.each == 1u) * C4;
  let w = weight_row(select(0u, last, params.each == 1u), C4);
  var square = 0.0;
  var most = 0.0; // of |x * weight|, which the mean does not change but for a factor
  for (var c = first; c < C4; c += step) {
    let v = x[row + c];
    square += dot(v, v);
    let p = abs(v * weight4(w, c));
    most = max(most, max(max(p.x, p.y), max(p.z, p.w)));
  }
  partial[lane] = vec2<f32>(square, most);
  workgroupBarrier();
  // Every lane reduces the partial results itself: one barrier instead of a tree of them.
  square = 0.0;
  for (var i = lane - first; i < lane - first + step; i++) {
    square += partial[i].x;
    most = max(most, partial[i].y);
  }
  let r = 1.0 / sqrt(square / f32(C4 * 4u) + params.eps);
  let largest = max(r * most, 1.0e-5);
  let per_unit = 127.0 / largest;
  let start = t * (C4 + 4u);
  var sum = 0;
  for (var c = first; c < C4; c += step) {
    let v = x[row + c] * r * weight4(w, c);
    let codes = vec4<i32>(clamp(round(v * per_unit), vec4<f32>(-128.0), vec4<f32>(127.0)));
    sum += codes.x + codes.y + codes.z + codes.w;
    let bytes = vec4<u32>(codes) & vec4<u32>(255u);
    if (t < params.T) { y[start + c] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u); }
  }
  code_sums[lane] = sum;
  workgroupBarrier();
  if (first > 0u || t >= params.T) { return; }
  for (var i = lane + 1u; i < lane + step; i++) { sum += code_sums[i]; }
  y[start + C4] = bitcast<u32>(largest / 127.0);
  y[start + C4 + 1u] = bitcast<u32>(sum);
}
