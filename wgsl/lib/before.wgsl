// Whether a token comes before another by falling logit, among equals the lower id first. NONE, no token, comes last.
const NONE = 0xffffffffu;

fn before(value: f32, id: u32, other: f32, other_id: u32) -> bool {
  return id != NONE && (other_id == NONE || value > other || (value == other && id < other_id));
}
