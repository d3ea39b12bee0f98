import { AdaptersView } from "../adapters/adapters_view.tsx"
import { ChatView } from "../chat/chat_view.tsx"
import { Sidebar, sidebarOpen } from "../chat/sidebar.tsx"
import { LookView } from "../look/look_view.tsx"
import { ModelStatus } from "../models/model_status.tsx"
import { ModelsView } from "../models/models_view.tsx"
import { notice, theme, view } from "../state/store.ts"
import { IconButton } from "./icons.tsx"
import { switchTheme } from "./theme.ts"

export function App() {
  return (
    <div class="app">
      <button type="button" class="skip" onClick={() => document.querySelector<HTMLElement>("#main")?.focus()}>
        Skip to the conversation
      </button>
      <Sidebar />
      <div class="page">
        <Header />
        <Notice />
        <main id="main" tabIndex={-1}>
          <CurrentView />
        </main>
      </div>
    </div>
  )
}

const VIEW_OF = { chat: ChatView, models: ModelsView, adapters: AdaptersView, look: LookView }

function CurrentView() {
  const Current = VIEW_OF[view.value]
  return <Current />
}

function Header() {
  const label = `Colours: ${theme.value === "system" ? "as the system" : theme.value}`
  return (
    <header class="bar">
      <span class="narrow">
        <IconButton
          icon="menu"
          label="Conversations"
          expanded={sidebarOpen.value}
          onClick={() => {
            sidebarOpen.value = !sidebarOpen.value
          }}
        />
      </span>
      <ModelStatus />
      <IconButton icon={theme.value} label={label} onClick={switchTheme} />
    </header>
  )
}

function Notice() {
  const { value } = notice
  const close = () => {
    notice.value = undefined
  }
  return (
    <div class="notices" role={value?.alert ? "alert" : "status"}>
      {value && (
        <p class={value.alert ? "notice alert" : "notice"}>
          <span>{value.text}</span>
          <IconButton icon="close" label="Close the message" onClick={close} />
        </p>
      )}
    </div>
  )
}
