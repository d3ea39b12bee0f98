import { type View, view } from "./store.ts"

/** Where the page is: `#/models`, `#/chat/ID`, or `#/` for a new conversation. */
export interface Route {
  readonly view: View
  readonly conversation: string | undefined
}

export function currentRoute(): Route {
  const [, page, id] = location.hash.split("/")
  return page === "models"
    ? { view: "models", conversation: undefined }
    : { view: "chat", conversation: id || undefined }
}

/** Shows a route, and calls back with the conversation that it names, now and whenever it changes. */
export function followRoute(onConversation: (id: string | undefined) => void): void {
  const follow = () => {
    const route = currentRoute()
    view.value = route.view
    if (route.view === "chat") onConversation(route.conversation)
  }
  addEventListener("hashchange", follow)
  follow()
}

export function go(hash: string): void {
  location.hash = hash
}

/** Names what is shown now without a new step in the history: a new conversation has an id once it has a turn. */
export function rename(hash: string): void {
  history.replaceState(undefined, "", hash)
}
