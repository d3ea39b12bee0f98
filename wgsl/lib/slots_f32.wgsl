// Heads kept as f32. What the flavours of this family define: SlotsWord, an element of the array `slots`; slots_put, which makes
// row `row` of it, D4 * 4 elements, of those in `turned`, of the kernel, from twos `head` on. A lane of STEP does a share.
alias SlotsWord = vec4<f32>;
fn slots_put(row: u32, D4: u32, head: u32, first: u32) {
  for (var c = first; c < D4; c += STEP) {
    slots[row * D4 + c] = vec4<f32>(turned[head + 2u * c], turned[head + 2u * c + 1u]);
  }
}
