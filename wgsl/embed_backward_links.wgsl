// links[t] = (nearest s < t, nearest s > t) with ids[s] = ids[t], each T where there is none.
//   ids [T]   links [T, (earlier, later)]
// One invocation per token. They chain the tokens of each id, so that embed_backward adds them up in order.
override WORKGROUP: u32 = 64;
struct Params { T: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read_write> links: array<vec2<u32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
  let t = invocation.x;
  if (t >= params.T) { return; }
  let id = ids[t];
  var earlier = params.T;
  for (var s = t; s > 0u; s--) {
    if (ids[s - 1u] == id) {
      earlier = s - 1u;
      break;
    }
  }
  var later = t + 1u;
  while (later < params.T && ids[later] != id) { later++; }
  links[t] = vec2<u32>(earlier, later);
}
