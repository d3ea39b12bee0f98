// y[t] = x[t] / sqrt(mean(x[t]^2) + eps) * (offset + weight), one workgroup per row.
//   x [T, C]   weight [C]   y [T, C]
// offset is 1 where weights are stored zero-centred (Gemma), 0 elsewhere (Llama).
// links lib/weight_*.wgsl
const LANES = 64u;
struct Params { T: u32, C4: u32, eps: f32, offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<Weight4>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partial: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let t = group.y * groups.x + group.x;
  if (t >= params.T) { return; } // the whole workgroup, so the barrier stays uniform
  let row = t * params.C4;
  var sum = 0.0;
  for (var c = lane; c < params.C4; c += LANES) {
    let v = x[row + c];
    sum += dot(v, v);
  }
  partial[lane] = sum;
  workgroupBarrier();
  // Every lane adds the partial sums itself: one barrier instead of a tree of six.
  sum = 0.0;
  for (var i = 0u; i < LANES; i++) { sum += partial[i]; }
  let scale = 1.0 / sqrt(sum / f32(params.C4 * 4u) + params.eps);
  for (var c = lane; c < params.C4; c += LANES) {
    y[row + c] = x[row + c] * scale * (params.offset + unpack4(weight[c]));
  }
}
