// h[t] = x[t] + a[t], or where POST is set x[t] + norm(a[t], post); u[t] = norm(h[t], next):
//   norm(v, weight) = v / sqrt(mean(v^2) + eps) * (offset + weight)
//   x, a [T, C]   post, next [C]   h, u [T, C]
// offset is 1 where weights are stored zero-centred (Gemma), 0 elsewhere (Llama).
// One workgroup per row where rows are few; from MANY on, one per 8 rows with 8 neighbouring lanes to each.
// links lib/weight_*.wgsl as post
// links lib/weight_*.wgsl as next
override POST: bool = false;
const LANES = 64u;
const MANY = 256u;
struct Params { T: u32, C4: u32, eps: f32, offset: f32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> post: array<PostWord>;
@group(0) @binding(3) var<storage, read> next: array<NextWord>;
@group(0) @binding(4) var<storage, read_write> h: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> u: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> params: Params;

var<workgroup> of_a: array<f32, LANES>;
var<workgroup> of_h: array<f32, LANES>;

fn inverse_rms(squares: f32) -> f32 { return 1.0 / sqrt(squares / f32(params.C4 * 4u) + params.eps); }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(local_invocation_index) lane: u32) {
  let C4 = params.C4;
  let step = select(8u, LANES, params.T < MANY); // lanes to a row
  let first = lane % step;
  let t = (group.y * groups.x + group.x) * (LANES / step) + lane / step;
  let row = min(t, params.T - 1u) * C4; // rows past the end repeat the last; what they give is not stored
  var scale = 1.0;
  if (POST) {
    var sum = 0.0;
    for (var c = first; c < C4; c += step) {
      let v = a[row + c];
      sum += dot(v, v);
    }
    of_a[lane] = sum;
    workgroupBarrier();
    // Every lane adds the partial sums itself: one barrier instead of a tree of them.
    sum = 0.0;
    for (var i = lane - first; i < lane - first + step; i++) { sum += of_a[i]; }
    scale = inverse_rms(sum);
  }
  let p = post_row(0u, C4);
  var squares = 0.0;
  for (var c = first; c < C4; c += step) {
    var v = a[row + c];
    if (POST) { v = v * scale * (params.offset + post4(p, c)); }
    v += x[row + c];
    squares += dot(v, v);
    if (t < params.T) { h[row + c] = v; }
  }
  of_h[lane] = squares;
  workgroupBarrier();
  if (t >= params.T) { return; }
  squares = 0.0;
  for (var i = lane - first; i < lane - first + step; i++) { squares += of_h[i]; }
  scale = inverse_rms(squares);
  let n = next_row(0u, C4);
  for (var c = first; c < C4; c += step) { u[row + c] = h[row + c] * scale * (params.offset + next4(n, c)); }
}
