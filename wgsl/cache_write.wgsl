// k_cache[(position + t) % capacity] = k[t], and v likewise.
//   k, v [T, G, D]   cursor [position, ...]   k_cache, v_cache [capacity, G, D]
// One invocation per four elements. Needs T <= capacity.
override WORKGROUP: u32 = 64;
struct Params { row4: u32, capacity: u32 }
@group(0) @binding(0) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> cursor: array<u32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<vec4<f32>>;
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x >= params.row4) { return; }
  let slot = (cursor[0] + id.y) % params.capacity;
  let at = id.y * params.row4 + id.x;
  let slot_at = slot * params.row4 + id.x;
  k_cache[slot_at] = k[at];
  v_cache[slot_at] = v[at];
}
