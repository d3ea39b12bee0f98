import type { Adapter } from "../storage/adapter.ts"
import { formatBytes } from "../ui/format.ts"
import { downloadAdapter } from "./adapters.ts"
import { closeMerging, type Merging, mergeAdapter, merging, saveMerged } from "./merge.ts"

interface Props {
  readonly adapter: Adapter
  /** Its model is loaded. */
  readonly fits: boolean
}

/** The adapter as files: alone, or added to its model's weights. */
export function DownloadSection({ adapter, fits }: Props) {
  const { value } = merging
  const isUnderway = value?.kind === "underway"
  return (
    <section aria-labelledby="download">
      <h2 id="download">Take it elsewhere</h2>
      <p class="quiet">
        The adapter alone is a PEFT folder, which gemlet's command line and Python read. Merged, it is a model of its
        own: the files of {adapter.base.name} with the adapter added to its weights.
      </p>
      <div class="actions">
        <button type="button" onClick={() => void downloadAdapter(adapter)}>
          Download the adapter
        </button>
        <button type="button" disabled={!fits || isUnderway} onClick={() => void mergeAdapter(adapter)}>
          Merge and download
        </button>
      </div>
      {value?.id === adapter.id && <Progress value={value} />}
      {value?.id !== adapter.id && isUnderway && <p class="quiet">Another adapter is being merged.</p>}
    </section>
  )
}

function Progress({ value }: { readonly value: Merging }) {
  if (value.kind === "failed") {
    const { title, text } = value.trouble
    return (
      <p class="trouble" role="alert">
        {title}. {text}
      </p>
    )
  }
  if (value.kind === "underway") {
    return (
      <p class="merging">
        <progress aria-label="Merging" />
        <span class="quiet">{formatBytes(value.bytes)} written</span>
        <button
          type="button"
          class="link"
          disabled={value.controller.signal.aborted}
          onClick={() => void closeMerging()}
        >
          Stop
        </button>
      </p>
    )
  }
  return (
    <p class="merging" role="status">
      <span>
        {value.name}, {formatBytes(value.file.size)}, goes to your downloads. It lies here until the page is closed.
      </span>
      <button type="button" class="link" onClick={saveMerged}>
        Save it again
      </button>
      <button type="button" class="link" onClick={() => void closeMerging()}>
        Clear it
      </button>
    </p>
  )
}
