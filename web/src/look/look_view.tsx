export function LookView() {
  return <h1>Look inside</h1>
}
