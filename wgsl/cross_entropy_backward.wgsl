// dlogits[t, v] = dloss[t] * (exp(l[t, v] - max l) / sum_v exp(l - max l) - (1 where v is the target)) * (1 - (l / cap)^2),
// l and softmax as in cross_entropy, the last factor only where cap is not 0; 0 where the target is IGNORED.
//   logits [T, V]   targets [T]   softmax [T, (max, sum, _)]   dloss [T]   dlogits [T, V]
// logits are those of tokens [first, first + V). One workgroup per row and 1024 of them.
// links lib/tanh.wgsl
const LANES = 64u;
const CHUNK = 1024u;
const IGNORED = 0xffffffffu;
struct Params { V: u32, first: u32, cap: f32 }
struct Softmax { highest: f32, sum: f32, hit: f32 }
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read> softmax: array<Softmax>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let t = group.y;
  let row = t * params.V;
  let answer = targets[t];
  let hit = answer - params.first; // wraps to a huge number below first
  let highest = softmax[t].highest;
  let sum = softmax[t].sum;
  let d = dloss[t];
  for (var v = group.x * CHUNK + lane; v < min(params.V, (group.x + 1u) * CHUNK); v += LANES) {
    var l = logits[row + v];
    var slope = d;
    if (params.cap != 0.0) {
      let u = tanh1(l / params.cap);
      l = params.cap * u;
      slope *= (1.0 - u) * (1.0 + u);
    }
    let p = exp(l - highest) / sum;
    dlogits[row + v] = select(slope * (p - select(0.0, 1.0, v == hit)), 0.0, answer == IGNORED);
  }
}
