// What sample needs to draw after each of n tokens that follow one another in a sequence, as if each drew for a sequence of its
// own: row r gets the sequence's settings, the position r behind its own, and knows tokens 1 to r beside those it has seen.
//   ids [n], the token at the sequence's position and those behind it
//   settings [8], seen [ceil(V / 32)] and cursor [2] of the sequence
//   settings_rows [n, 8]   seen_rows [n, ceil(V / 32)]   cursor_rows [n, 2], (position, 0)
// One invocation per word of a row of seen_rows, at least eight; workgroups (words, rows).
override WORKGROUP: u32 = 64;
struct Params { words: u32 }
@group(0) @binding(0) var<storage, read> ids: array<u32>;
@group(0) @binding(1) var<storage, read> settings: array<u32>;
@group(0) @binding(2) var<storage, read> seen: array<u32>;
@group(0) @binding(3) var<storage, read> cursor: array<u32>;
@group(0) @binding(4) var<storage, read_write> settings_rows: array<u32>;
@group(0) @binding(5) var<storage, read_write> seen_rows: array<u32>;
@group(0) @binding(6) var<storage, read_write> cursor_rows: array<u32>;
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let word = group.x * WORKGROUP + lane;
  let row = group.y;
  if (word < 8u) { settings_rows[row * 8u + word] = settings[word]; }
  if (word == 0u) {
    cursor_rows[2u * row] = cursor[0] + row;
    cursor_rows[2u * row + 1u] = 0u;
  }
  if (word >= params.words) { return; }
  var bits = seen[word];
  for (var r = 1u; r <= row; r++) {
    if (ids[r] >> 5u == word) { bits |= 1u << (ids[r] & 31u); }
  }
  seen_rows[row * params.words + word] = bits;
}
