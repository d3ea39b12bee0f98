// x[t] = scale * weight[ids[t]], for the ids that lie in up to three parts of the table that follow one another: lower begins at
// row lower_begin, middle at middle_begin, upper at upper_begin, and upper ends before row end. Where there are fewer parts one is bound several times, and all but the last of these begin where the next does.
//   ids [T]   lower, middle, upper [rows, C]   x [T, C]
// One invocation per four columns. A table of more parts is gathered by one dispatch per three of them.
// links lib/weight_*.wgsl as lower
// links lib/weight_*.wgsl as middle
// links lib/weight_*.wgsl as upper
struct Params { T: u32, C4: u32, lower_begin: u32, middle_begin: u32, upper_begin: u32, end: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> lower: array<LowerWord>;
@group(0) @binding(2) var<storage, read> middle: array<MiddleWord>;
@group(0) @binding(3) var<storage, read> upper: array<UpperWord>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let c = id.x;
  let t = id.y;
  let C4 = params.C4;
  let row = ids[t];
  if (c >= C4 || row < params.lower_begin || row >= params.end) { return; }
  var w: vec4<f32>;
  if (row < params.middle_begin) {
    w = lower4(lower_row(row - params.lower_begin, C4), c);
  } else if (row < params.upper_begin) {
    w = middle4(middle_row(row - params.middle_begin, C4), c);
  } else {
    w = upper4(upper_row(row - params.upper_begin, C4), c);
  }
  x[t * C4 + c] = w * params.scale;
}
