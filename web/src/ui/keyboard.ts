import { stop } from "../chat/answer.ts"
import { sidebarOpen } from "../chat/sidebar.tsx"
import { live } from "../state/store.ts"

/** Keys that work everywhere: Escape closes the list over a phone's page, or stops an answer; `/` goes to the search. */
export function followKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return
    if (event.key === "Escape" && (sidebarOpen.value || live.value)) {
      event.preventDefault()
      if (sidebarOpen.value) sidebarOpen.value = false
      else stop()
    }
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !isTyping(event.target)) {
      event.preventDefault()
      const search = document.querySelector<HTMLInputElement>("#search")
      search?.dispatchEvent(new CustomEvent("gemlet:reveal", { bubbles: true }))
      search?.focus()
    }
  })
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName))
  )
}
