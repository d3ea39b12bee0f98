import { useEffect } from "preact/hooks"
import type { OriginStorage, StoredModel } from "../engine.ts"
import { offline, storage, type Transfer, transfers } from "../state/store.ts"
import { formatBytes, formatDate, formatProgress } from "../ui/format.ts"
import { Linked } from "../ui/linked.tsx"
import { chooseKept } from "./choose.ts"
import { closeTransfer, keepHub, persistKept, refreshKept, removeKept, stopTransfer } from "./kept.ts"

/** The models that the browser keeps, those on their way, and what room there is. */
export function KeptModels() {
  useEffect(() => void refreshKept(), []) // other tabs may have changed it
  const { value } = storage
  const models = value.kind === "read" ? value.models : []
  const ids = new Set(models.map(({ id }) => id))
  const begun = [...transfers.value].filter(([name]) => !ids.has(name))
  return (
    <section aria-labelledby="kept">
      <h2 id="kept">On this device</h2>
      {value.kind === "failed" && <p class="trouble">{value.trouble.text}</p>}
      <ul class="kept" aria-labelledby="kept">
        {begun.map(([name, transfer]) => (
          <li key={name}>
            <strong>{name}</strong>
            <TransferState name={name} transfer={transfer} />
          </li>
        ))}
        {models.map((each) => (
          <Entry key={each.id} stored={each} />
        ))}
      </ul>
      {value.kind === "read" && models.length + begun.length === 0 && (
        <p class="quiet">None yet. A model that is downloaded once loads without a network from then on.</p>
      )}
      {value.kind === "read" && <Room origin={value.origin} />}
    </section>
  )
}

function Entry({ stored }: { readonly stored: StoredModel }) {
  const { id, complete, revision } = stored
  const transfer = transfers.value.get(id)
  const isMoving = transfer?.controller !== undefined
  return (
    <li>
      <strong>{id}</strong>
      {!isMoving && <span class="quiet">{describe(stored)}</span>}
      {transfer && <TransferState name={id} transfer={transfer} />}
      {!isMoving && (
        <div class="actions">
          {complete && (
            <button type="button" aria-label={`Load ${id}`} onClick={() => void chooseKept(id)}>
              Load
            </button>
          )}
          {!complete && revision !== undefined && (
            <button type="button" aria-label={`Go on with ${id}`} onClick={() => void keepHub(id)}>
              Go on
            </button>
          )}
          <button
            type="button"
            aria-label={`Delete ${id}`}
            onClick={() => confirm(`Delete ${id} from this device?`) && void removeKept(id)}
          >
            Delete
          </button>
        </div>
      )}
    </li>
  )
}

function describe({ complete, storedBytes, loaded, bytes, usedAt, revision }: StoredModel): string {
  if (complete) return `${formatBytes(storedBytes)}${usedAt === undefined ? "" : `, last used ${formatDate(usedAt)}`}`
  const here = `${formatBytes(loaded)} of ${formatBytes(bytes)} are here`
  return revision === undefined ? `${here}; pick the files again to go on` : here
}

function TransferState({ name, transfer }: { readonly name: string; readonly transfer: Transfer }) {
  const { kind, controller, progress, trouble } = transfer
  if (trouble) {
    return (
      <div role="alert">
        <p class="trouble">
          {trouble.title}. <Linked text={trouble.text} />
        </p>
        <div class="actions">
          {kind === "download" && (
            <button type="button" class="primary" onClick={() => void keepHub(name)}>
              Try to go on
            </button>
          )}
          <button type="button" onClick={() => closeTransfer(name)}>
            Close
          </button>
        </div>
      </div>
    )
  }
  const isDownload = kind === "download"
  return (
    <div class="transfer-state">
      <progress
        aria-label={`${isDownload ? "Download" : "Copy"} of ${name}`}
        max={progress?.total ?? 1}
        value={progress?.loaded}
      />
      <span class="quiet">{stateOf(transfer)}</span>
      <button type="button" class="link" disabled={controller?.signal.aborted} onClick={() => stopTransfer(name)}>
        {isDownload ? "Stop" : "Cancel"}
      </button>
    </div>
  )
}

function stateOf({ kind, waits, progress }: Transfer): string {
  if (waits) return "another tab is at it"
  if (kind === "download" && offline.value) return "there is no network; it goes on when there is one"
  return progress ? formatProgress(progress) : "asking"
}

/** What the browser gives the page, as far as it tells. */
function Room({ origin: { quota, usage, models, persisted } }: { readonly origin: OriginStorage }) {
  const free = quota === undefined ? undefined : Math.max(0, quota - (usage ?? 0))
  return (
    <>
      <p class="quiet">
        Models take {formatBytes(models)}
        {free !== undefined && `; the browser has room for about ${formatBytes(free)} more`}.{" "}
        {persisted ? "It will not clear them by itself." : "It may clear them when the disk gets full."}
      </p>
      {!persisted && (
        <button type="button" onClick={() => void persistKept()}>
          Ask it to keep them
        </button>
      )}
    </>
  )
}
