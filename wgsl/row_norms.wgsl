// norm[first_row + n] = || weight[weight_row + n] + scale * sum_r b[b_row + n, r] * a[r] || for n < rows,
// one workgroup per row.
//   weight [weight_row + rows or more, C]   b [b_row + rows or more, R]   a [R, C]   norm [N]
// Matrices in several parts take a dispatch per pair of parts that share rows.
// links lib/weight_*.wgsl
const LANES = 64u;
struct Params { C4: u32, R4: u32, first_row: u32, weight_row: u32, b_row: u32, rows: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> weight: array<WeightWord>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> partial: array<f32, LANES>;

// Four columns of a row of b a.
fn product(b_row: u32, c: u32) -> vec4<f32> {
  let C4 = params.C4;
  var sum = vec4<f32>(0.0);
  var i = c;
  for (var r = 0u; r < params.R4; r++) {
    let v = b[b_row + r];
    sum += v.x * a[i] + v.y * a[i + C4] + v.z * a[i + 2u * C4] + v.w * a[i + 3u * C4];
    i += 4u * C4;
  }
  return sum;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let n = group.y * groups.x + group.x;
  if (n >= params.rows) { return; } // the whole workgroup, so the barrier stays uniform
  let w = weight_row(params.weight_row + n, params.C4);
  let b_row = (params.b_row + n) * params.R4;
  var sum = 0.0;
  for (var c = lane; c < params.C4; c += LANES) {
    let v = weight4(w, c) + params.scale * product(b_row, c);
    sum += dot(v, v);
  }
  partial[lane] = sum;
  workgroupBarrier();
  if (lane > 0u) { return; }
  for (var i = 1u; i < LANES; i++) { sum += partial[i]; }
  norm[params.first_row + n] = sqrt(sum);
}
