// y[t] = x[t] / sqrt(mean(x[t]^2) + eps) * (offset + weight).
//   x [T, C]   weight [C]   y [T, C]
// offset is 1 where weights are stored zero-centred (Gemma), 0 elsewhere (Llama).
// One workgroup per row where rows are few; from MANY on, one per 8 rows with 8 neighbouring lanes to each.
// links lib/weight_*.wgsl
const LANES = 64u;
const MANY = 256u;
struct Params { T: u32, C4: u32, eps: f32, offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let step = select(8u, LANES, params.T < MANY); // lanes to a row
  let first = lane % step;
  let t = (group.y * groups.x + group.x) * (LANES / step) + lane / step;
  let row = min(t, params.T - 1u) * params.C4; // rows past the end repeat the last; what they give is not stored
  var sum = 0.0;
  for (var c = first; c < params.C4; c += step) {
    let v = x[row + c];
    sum += dot(v, v);
  }
  partial[lane] = sum;
  workgroupBarrier();
  if (t >= params.T) { return; }
  // Every lane adds the partial sums itself: one barrier instead of a tree of them.
  sum = 0.0;
  for (var i = lane - first; i < lane - first + step; i++) { sum += partial[i]; }
  let scale = 1.0 / sqrt(sum / f32(params.C4 * 4u) + params.eps);
  let w = weight_row(0u, params.C4);
  for (var c = first; c < params.C4; c += step) {
    y[row + c] = x[row + c] * scale * (params.offset + weight4(w, c));
  }
}
