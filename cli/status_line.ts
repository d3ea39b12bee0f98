/** How far it is: on a terminal one line that is rewritten, elsewhere nothing. */
export class Line {
  #open = false

  show(text: string): void {
    if (!process.stderr.isTTY) return
    process.stderr.write(`\r${text.slice(0, Math.max(1, (process.stderr.columns || 80) - 1))}\x1b[K`)
    this.#open = true
  }

  close(): void {
    if (this.#open) process.stderr.write("\r\x1b[K")
    this.#open = false
  }
}
