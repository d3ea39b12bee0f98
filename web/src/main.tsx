import { render } from "preact"
import { openAdapters } from "./adapters/adapters.ts"
import { clearMerged } from "./adapters/merge.ts"
import { openConversations, show } from "./chat/conversations.ts"
import { refreshKept } from "./models/kept.ts"
import { loadModel, STORYTELLER_CHOICE } from "./models/load_model.ts"
import { lastChoice } from "./models/remembered.ts"
import { followRoute } from "./state/route.ts"
import { notice } from "./state/store.ts"
import { App } from "./ui/app.tsx"
import { followDrops } from "./ui/drop.ts"
import { followKeys } from "./ui/keyboard.ts"
import { followNetwork } from "./ui/network.ts"
import { followTheme } from "./ui/theme.ts"
import "./styles/index.css"

followTheme()
followNetwork()
followKeys()
followDrops()
followRoute((id) => void show(id))
render(<App />, document.querySelector("#app")!)
void openConversations()
void openAdapters()
void clearMerged()
void loadModel(lastChoice() ?? STORYTELLER_CHOICE)
void refreshKept()
if (import.meta.env.PROD) void keepForOffline()

/** Lets the page work without a network from the second visit on, where the browser can. */
async function keepForOffline(): Promise<void> {
  try {
    await navigator.serviceWorker?.register("service_worker.js")
  } catch (error) {
    notice.value = { text: `The page could not be kept for use offline: ${String(error)}`, alert: false }
  }
}
