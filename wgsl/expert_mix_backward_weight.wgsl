// dweight[k R + j, i] = sum_t dy[t, k R + j] * a[t, k R + i], or += where accumulate is not 0.
//   dy, a [T, K R]   dweight [K R, R]
// One workgroup per 8 tiles of four rows x four columns: a lane for each, times 8 that share the tokens and are added in order.
const TILES = 8u;
const SHARES = 8u;
struct Params { T: u32, K: u32, R4: u32, accumulate: u32 }
@group(0) @binding(0) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> dweight: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> params: Params;

var<workgroup> partial: array<mat4x4<f32>, TILES * SHARES>;

@compute @workgroup_size(TILES, SHARES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_id) local: vec3<u32>) {
  let tile = (group.y * groups.x + group.x) * TILES + local.x;
  let R4 = params.R4;
  let W4 = params.K * R4;
  let row = tile / R4; // in fours, as the columns
  let c = tile % R4;
  var sum = mat4x4<f32>(); // its column j is the tile's row j
  if (row < W4) {
    for (var t = local.y; t < params.T; t += SHARES) {
      let d = dy[t * W4 + row];
      let v = a[t * W4 + row / R4 * R4 + c];
      sum += mat4x4<f32>(d.x * v, d.y * v, d.z * v, d.w * v);
    }
  }
  partial[local.y * TILES + local.x] = sum;
  workgroupBarrier();
  if (local.y > 0u || row >= W4) { return; }
  for (var i = 1u; i < SHARES; i++) { sum += partial[i * TILES + local.x]; }
  for (var j = 0u; j < 4u; j++) {
    let i = (row * 4u + j) * R4 + c;
    dweight[i] = select(sum[j], dweight[i] + sum[j], params.accumulate != 0u);
  }
}
