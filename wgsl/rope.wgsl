// Rotary position embedding, element j paired with j + D/2: y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin.
// direction is 1, or -1 to turn back: the gradient of a rotation is the inverse rotation.
//   x [T, H, D]   table [256 + rows, D/2, (cos, sin)]   cursor [position, ...]   y [T, H, D]
// The angle of position p is the sum of those of p % 256, in the table's first 256 rows, and of 256 * (p / 256), in the others:
// cosines and sines made in float64, few and exact at any position, where sin() of some drivers errs by 1e-3.
// One invocation per pair.
override WORKGROUP: u32 = 64;
struct Params { H: u32, half: u32, direction: f32 }
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> cursor: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let half = params.half;
  if (id.x >= params.H * half) { return; }
  let head = id.x / half;
  let j = id.x % half;
  let position = cursor[0] + id.y;
  let a = table[(256u + (position >> 8u)) * half + j];
  let b = table[(position & 255u) * half + j];
  let cosine = a.x * b.x - a.y * b.y;
  let sine = params.direction * (a.y * b.x + a.x * b.y);
  let i = (id.y * params.H + head) * half * 2u + j;
  let x1 = x[i];
  let x2 = x[i + half];
  y[i] = x1 * cosine - x2 * sine;
  y[i + half] = x2 * cosine + x1 * sine;
}
