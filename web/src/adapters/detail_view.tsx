import { useEffect } from "preact/hooks"
import { wayTo } from "../models/choose.ts"
import { go } from "../state/route.ts"
import { activeRun, adapters, conversation, model } from "../state/store.ts"
import type { Adapter } from "../storage/adapter.ts"
import { newConversation } from "../storage/conversation.ts"
import { RunSection } from "../train/run_section.tsx"
import { formatBytes, formatDate } from "../ui/format.ts"
import { refreshAdapters, removeAdapter, renameAdapter } from "./adapters.ts"
import { fits } from "./base.ts"
import { DownloadSection } from "./merge_view.tsx"
import { TrialSection } from "./trial_view.tsx"

/** All about one adapter. */
export function DetailView({ id }: { readonly id: string }) {
  useEffect(() => void refreshAdapters(), [])
  const adapter = adapters.value?.find((each) => each.id === id)
  return (
    <>
      <p>
        <a href="#/adapters">All adapters</a>
      </p>
      {adapter && <Detail adapter={adapter} />}
      {!adapter && adapters.value && <p>There is no such adapter on this device: it was deleted, or never here.</p>}
    </>
  )
}

function Detail({ adapter }: { readonly adapter: Adapter }) {
  const isSaved = adapter.bytes !== undefined
  const isHere = model.value.kind === "ready" && fits(adapter.base, model.value.choice)
  return (
    <>
      <h1>{adapter.name}</h1>
      <Facts adapter={adapter} />
      {!isHere && <OtherBase name={adapter.base.name} />}
      <Actions adapter={adapter} canChat={isSaved && isHere} />
      {adapter.run && <RunSection adapter={adapter} />}
      {isSaved && isHere && <TrialSection adapter={adapter} />}
      {isSaved && <DownloadSection adapter={adapter} fits={isHere} />}
    </>
  )
}

function Facts({ adapter }: { readonly adapter: Adapter }) {
  const { id, name, base, brought, bytes, created } = adapter
  return (
    <>
      <label class="field">
        <span>Name</span>
        <input
          value={name}
          maxLength={120}
          onChange={(event) => {
            const given = event.currentTarget.value.trim()
            if (given === "") event.currentTarget.value = name
            else void renameAdapter(id, given)
          }}
        />
      </label>
      <p class="quiet">
        For {base.name}
        {brought && `, ${brought.kind} of rank ${brought.rank}`}
        {bytes !== undefined && `, ${formatBytes(bytes)}`}, here since {formatDate(created)}.
      </p>
    </>
  )
}

function OtherBase({ name }: { readonly name: string }) {
  const load = wayTo(name)
  if (model.value.kind === "loading") return <p class="quiet">The model is on its way…</p>
  return (
    <p>
      It works with {name} alone, which is not loaded.{" "}
      {load ? (
        <button type="button" class="link" onClick={() => void load()}>
          Load {name}
        </button>
      ) : (
        <a href="#/models">Choose it under Models</a>
      )}
    </p>
  )
}

function Actions({ adapter, canChat }: { readonly adapter: Adapter; readonly canChat: boolean }) {
  const { id, name } = adapter
  const isTraining = activeRun.value?.id === id
  const remove = async () => {
    if (!confirm(`Delete “${name}”? It cannot be brought back.`)) return
    if (await removeAdapter(adapter)) go("#/adapters")
  }
  return (
    <div class="actions">
      <button
        type="button"
        disabled={!canChat}
        onClick={() => {
          conversation.value = { ...newConversation(), adapter: { id, name } }
          go("#/")
        }}
      >
        Chat with it
      </button>
      <button type="button" disabled={isTraining} onClick={() => void remove()}>
        Delete
      </button>
    </div>
  )
}
