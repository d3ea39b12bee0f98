import { useSignal } from "@preact/signals"
import { useEffect } from "preact/hooks"
import { accessToken, model, transfers } from "../state/store.ts"
import { HubLink } from "../ui/linked.tsx"
import { candidate } from "./choose.ts"

/** What the Hub wants to see before it gives some models. Outside of any form, so that browsers do not take it for a password of this page. */
export function AccessTokenField() {
  const { text, kept } = accessToken.value
  const isWanted = wantsToken()
  const isOpen = useSignal(isWanted)
  useEffect(() => {
    if (isWanted) isOpen.value = true
  }, [isWanted, isOpen])
  return (
    <details
      class="token"
      open={isOpen.value}
      onToggle={({ currentTarget }) => {
        isOpen.value = currentTarget.open
      }}
    >
      <summary>{text === "" ? "For models that ask for a licence" : "An access token is set"}</summary>
      <label class="field">
        <span>Access token</span>
        <input
          type="password"
          value={text}
          placeholder="hf_…"
          autocomplete="off"
          onInput={({ currentTarget }) => {
            accessToken.value = { text: currentTarget.value.trim(), kept }
          }}
        />
      </label>
      <p class="quiet">
        Accept the licence on the model's own page, then make a token that may read gated repositories at{" "}
        <HubLink href="https://huggingface.co/settings/tokens" />. It goes to huggingface.co and to nobody else, not
        even to the hosts that large files come from.
      </p>
      <label class="check">
        <input
          type="checkbox"
          checked={kept}
          onChange={({ currentTarget }) => {
            accessToken.value = { text, kept: currentTarget.checked }
          }}
        />
        Keep the token on this device
      </label>
      <p class="quiet">
        {kept
          ? "It lies in this browser's storage as it is: whoever uses this browser can read it."
          : "It is forgotten when the page is closed or loaded again."}
      </p>
    </details>
  )
}

/** Whether the Hub has refused something for want of one. */
function wantsToken(): boolean {
  const { value: chosen } = candidate
  const { value: loaded } = model
  if (chosen?.kind === "failed" && chosen.trouble.kind === "access") return true
  if (loaded.kind === "failed" && loaded.trouble.kind === "access") return true
  return [...transfers.value.values()].some(({ trouble }) => trouble?.kind === "access")
}
