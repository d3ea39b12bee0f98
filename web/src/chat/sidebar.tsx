import { signal, useSignal } from "@preact/signals"
import { useEffect, useLayoutEffect, useRef } from "preact/hooks"
import { conversation, live, summaries, type View, view } from "../state/store.ts"
import type { Summary } from "../storage/conversation.ts"
import { searchConversations } from "../storage/database.ts"
import { Icon, IconButton } from "../ui/icons.tsx"
import { exportAll, exportOne, importFile, remove, renameConversation } from "./conversations.ts"

/** On a phone it lies over the page, and is open only when asked for. */
export const sidebarOpen = signal(false)

addEventListener("hashchange", () => {
  sidebarOpen.value = false
})

const PAGES: readonly { readonly page: View; readonly title: string }[] = [
  { page: "models", title: "Models" },
  { page: "adapters", title: "Fine-tune" },
  { page: "look", title: "Look inside" },
]

/** Milliseconds without a key before a search begins. */
const SEARCH_DELAY = 150

const isNarrow = matchMedia("(max-width: 800px)")
const narrow = signal(isNarrow.matches)
isNarrow.addEventListener("change", ({ matches }) => {
  narrow.value = matches
})

export function Sidebar() {
  const query = useSignal("")
  const found = useFound(query.value)
  const close = () => {
    sidebarOpen.value = false
  }
  const shown = summaries.value.filter(({ id }) => found === undefined || found.has(id))
  const hidden = narrow.value && !sidebarOpen.value
  const ref = useReveal()
  return (
    <>
      {narrow.value && sidebarOpen.value && <button type="button" class="veil" aria-label="Close" onClick={close} />}
      <aside ref={ref} class={sidebarOpen.value ? "sidebar open" : "sidebar"} inert={hidden} aria-label="Conversations">
        <div class="brand">
          <img src="./icon.svg" alt="" width="22" height="22" />
          gemlet
        </div>
        <nav aria-label="Pages">
          <a class="button" href="#/">
            <Icon name="plus" /> New conversation
          </a>
          {PAGES.map(({ page, title }) => (
            <a key={page} class="link" href={`#/${page}`} aria-current={view.value === page ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <input
          id="search"
          type="search"
          placeholder="Search  ( / )"
          aria-label="Search conversations"
          value={query.value}
          onInput={(event) => {
            query.value = event.currentTarget.value
          }}
        />
        <ul class="conversations">
          {shown.map((summary) => (
            <Entry key={summary.id} summary={summary} />
          ))}
        </ul>
        {shown.length === 0 && (
          <p class="quiet">{query.value ? "Nothing found." : "What you say is kept here, on this device."}</p>
        )}
        <Transfer />
      </aside>
    </>
  )
}

function Entry({ summary: { id, title } }: { readonly summary: Summary }) {
  const renaming = useSignal(false)
  const current = view.value === "chat" && conversation.value?.id === id
  if (renaming.value) {
    return (
      <li>
        <Rename
          title={title}
          onDone={(changed) => {
            renaming.value = false
            if (changed) void renameConversation(id, changed)
          }}
        />
      </li>
    )
  }
  return (
    <li class={current ? "current" : undefined}>
      <a href={`#/chat/${id}`} aria-current={current ? "page" : undefined}>
        {title}
        {live.value?.conversation === id && <span class="pulse" role="img" aria-label="is being answered" />}
      </a>
      <span class="tools">
        <IconButton
          icon="edit"
          label={`Rename ${title}`}
          onClick={() => {
            renaming.value = true
          }}
        />
        <IconButton icon="save" label={`Export ${title}`} onClick={() => void exportOne(id)} />
        <IconButton
          icon="trash"
          label={`Delete ${title}`}
          onClick={() => confirm(`Delete “${title}”? It cannot be brought back.`) && void remove(id)}
        />
      </span>
    </li>
  )
}

function Rename({ title, onDone }: { readonly title: string; readonly onDone: (changed: string | undefined) => void }) {
  const ref = useRef<HTMLInputElement>(null)
  useLayoutEffect(() => ref.current?.select(), [])
  return (
    <input
      ref={ref}
      class="rename"
      aria-label="Title"
      defaultValue={title}
      maxLength={120}
      onBlur={(event) => onDone(event.currentTarget.value.trim() || undefined)}
      onKeyDown={(event) => {
        if (event.key === "Escape") event.currentTarget.value = title
        if (event.key === "Enter" || event.key === "Escape") event.currentTarget.blur()
      }}
    />
  )
}

function Transfer() {
  const ref = useRef<HTMLInputElement>(null)
  return (
    <div class="transfer">
      <button type="button" class="link" onClick={() => void exportAll()} disabled={summaries.value.length === 0}>
        Export all
      </button>
      <button type="button" class="link" onClick={() => ref.current?.click()}>
        Import
      </button>
      <input
        ref={ref}
        type="file"
        accept=".json,application/json"
        hidden
        aria-label="Conversations to import"
        onChange={({ currentTarget }) => {
          const [file] = currentTarget.files ?? []
          if (file) void importFile(file)
          currentTarget.value = "" // the same file may be chosen again
        }}
      />
    </div>
  )
}

/** The ids that a query finds; undefined for all of them. */
function useFound(query: string): Set<string> | undefined {
  const found = useSignal<Set<string> | undefined>(undefined)
  useEffect(() => {
    if (query.trim() === "") {
      found.value = undefined
      return
    }
    let wanted = true
    const timer = setTimeout(async () => {
      const ids = await searchConversations(query).catch(() => new Set<string>())
      if (wanted) found.value = ids
    }, SEARCH_DELAY)
    return () => {
      wanted = false
      clearTimeout(timer)
    }
  }, [query, found])
  return found.value
}

/** The key that goes to the search opens what it is in. */
function useReveal() {
  const ref = useRef<HTMLElement>(null)
  useEffect(() => {
    const reveal = () => {
      sidebarOpen.value = true
      ref.current!.inert = false // now, as what is inert takes no focus
    }
    ref.current!.addEventListener("gemlet:reveal", reveal)
  }, [])
  return ref
}
