import { effect } from "@preact/signals"
import { type Theme, theme } from "../state/store.ts"

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" }

/** Keeps the page in the colours that were chosen: the system's, or one of the two. */
export function followTheme(): void {
  effect(() => {
    const { value } = theme
    if (value === "system") delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = value
  })
}

export function switchTheme(): void {
  theme.value = NEXT[theme.value]
}
