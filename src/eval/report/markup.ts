const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" }

/** Text for HTML and XML, between tags or in quotes, without the control characters that they cannot hold. */
export function escapeText(text: string): string {
  return text
    .replace(/[^\P{Cc}\n\t]|[\p{Surrogate}\ufffe\uffff]/gu, " ")
    .replace(/[&<>"']/g, (character) => ENTITIES[character]!)
}

/** Markup of a value's JSON for a script element that is data: nothing in it can end the element or begin another. */
export function scriptJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c")
}

/** A coordinate with as many digits as can be seen. */
export function px(value: number): number {
  return Math.round(value * 10) / 10
}
