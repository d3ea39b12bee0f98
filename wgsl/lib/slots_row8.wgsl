// Heads kept in eight bits, with a scale each, as src/kernels/tensor.ts lays them:
//   code = round(x / scale),   scale = max |x| / 127
alias SlotsWord = u32;
fn slots_put(row: u32, D4: u32, head: u32, first: u32) {
  var most2 = vec2<f32>(0.0);
  for (var i = 0u; i < 2u * D4; i++) { most2 = max(most2, abs(turned[head + i])); }
  let most = max(most2.x, most2.y);
  let per_unit = select(0.0, 127.0 / most, most > 1.0e-30);
  let start = row * (D4 + 1u);
  for (var c = first; c < D4; c += STEP) {
    let x = vec4<f32>(turned[head + 2u * c], turned[head + 2u * c + 1u]);
    let bytes = vec4<u32>(vec4<i32>(round(x * per_unit))) & vec4<u32>(255u);
    slots[start + c] = bytes.x | (bytes.y << 8u) | (bytes.z << 16u) | (bytes.w << 24u);
  }
  if (first == 0u) { slots[start + D4] = bitcast<u32>(select(0.0, most / 127.0, most > 1.0e-30)); }
}
