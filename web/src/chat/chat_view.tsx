import { useSignal } from "@preact/signals"
import { useEffect, useRef } from "preact/hooks"
import { ModelTrouble } from "../models/model_trouble.tsx"
import { activeRun, conversation, live, model, readyModel } from "../state/store.ts"
import { send } from "./answer.ts"
import { Composer } from "./composer.tsx"
import { OtherAdapter } from "./other_adapter.tsx"
import { OtherModel } from "./other_model.tsx"
import { modeWith } from "./prompt.ts"
import { LiveTurn, TurnView } from "./turn.tsx"

const STARTERS = ["Tell me a story about Lily.", "Write a short story with the words: dog, river, brave."]

export function ChatView() {
  const scroller = useRef<HTMLElement>(null)
  const turns = conversation.value?.turns ?? []
  const isEmpty = turns.length === 0
  useFollowing(scroller, conversation.value?.id)
  return (
    <div class="chat">
      <section class="scroller" ref={scroller} aria-label="Conversation">
        <div class="column">
          {model.value.kind === "failed" && <ModelTrouble state={model.value} />}
          {isEmpty ? <Welcome /> : <Turns />}
          <OtherModel />
          <OtherAdapter />
        </div>
      </section>
      <Announcer />
      <Composer />
    </div>
  )
}

function Turns() {
  const { turns } = conversation.value!
  const current = live.value
  return (
    <ol class="turns" aria-label="Turns">
      {turns.map((turn) =>
        current?.turn === turn.id ? (
          <LiveTurn key={turn.id} answer={current} />
        ) : (
          <TurnView key={turn.id} turn={turn} />
        ),
      )}
    </ol>
  )
}

function Welcome() {
  const lm = readyModel.value
  if (!lm)
    return <div class="welcome">{model.value.kind === "loading" && <p class="quiet">The model is on its way…</p>}</div>
  const isStoryteller = model.value.kind === "ready" && model.value.choice.name === "storyteller"
  const isText = modeWith(lm, conversation.value ?? { mode: undefined }) === "text"
  return (
    <div class="welcome">
      <h1>{isText ? "Begin a text" : "Say something"}</h1>
      {isText ? (
        <p class="quiet">The model goes on with what you write, as it is: there are no roles and no instructions.</p>
      ) : (
        <p class="quiet">The answer is computed on this device. Nothing of what you write leaves it.</p>
      )}
      {isStoryteller && (
        <>
          <p class="quiet">
            Storyteller is a very small model that knows children's stories and nothing else.{" "}
            <a href="#/models">Choose another model</a>
          </p>
          <div class="starters">
            {STARTERS.map((text) => (
              <button key={text} type="button" disabled={activeRun.value !== undefined} onClick={() => void send(text)}>
                {text}
              </button>
            ))}
          </div>
        </>
      )}
    </div>
  )
}

/** Says to a screen reader when an answer begins and ends; its words are read when it is whole. */
function Announcer() {
  const said = useSignal("")
  const current = live.value
  useEffect(() => {
    if (!current) return
    said.value = "Answering"
    return () => {
      said.value = "The answer has ended"
    }
  }, [current, said])
  return (
    <p class="hidden" role="status">
      {said.value}
    </p>
  )
}

/** Distance from the end, in pixels, within which a reader follows what comes. */
const NEAR = 60

/** Stays at the end while it grows, unless the reader has scrolled up; begins at the end of another conversation. */
function useFollowing(scroller: { readonly current: HTMLElement | null }, id: string | undefined): void {
  useEffect(() => {
    const element = scroller.current!
    let following = true
    const onScroll = () => {
      following = element.scrollHeight - element.scrollTop - element.clientHeight < NEAR
    }
    const observer = new ResizeObserver(() => {
      if (following) element.scrollTop = element.scrollHeight
    })
    element.addEventListener("scroll", onScroll, { passive: true })
    observer.observe(element)
    observer.observe(element.firstElementChild!)
    element.scrollTop = element.scrollHeight
    return () => {
      observer.disconnect()
      element.removeEventListener("scroll", onScroll)
    }
  }, [scroller, id])
}
