import { shownId, VIEWS, type View, view } from "./store.ts"

/** Where the page is: `#/models`, `#/adapters`, `#/adapters/ID`, `#/look`, `#/chat/ID`, or `#/` for a new conversation. */
export interface Route {
  readonly view: View
  /** What is shown there: a conversation, an adapter. */
  readonly id: string | undefined
}

export function currentRoute(): Route {
  const [, page, id] = location.hash.split("/")
  const view = VIEWS.find((each) => each === page) ?? "chat"
  return { view, id: id || undefined }
}

/** Shows a route, and calls back with the conversation that it names, now and whenever it changes. */
export function followRoute(onConversation: (id: string | undefined) => void): void {
  const follow = () => {
    const route = currentRoute()
    view.value = route.view
    shownId.value = route.id
    if (route.view === "chat") onConversation(route.id)
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
