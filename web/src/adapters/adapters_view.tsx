export function AdaptersView() {
  return <h1>Fine-tune</h1>
}
