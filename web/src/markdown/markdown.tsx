import type { ReadonlySignal } from "@preact/signals"
import { useEffect, useLayoutEffect, useRef } from "preact/hooks"
import { GrowingMarkdown } from "./growing.ts"

/** Times that the last drawing took until the next: a slow device draws less often, not late. */
const REST = 4

/** A text that stays. */
export function Markdown({ text }: { readonly text: string }) {
  const ref = useRef<HTMLDivElement>(null)
  const shown = useRef<GrowingMarkdown>(undefined)
  useLayoutEffect(() => {
    shown.current ??= new GrowingMarkdown(ref.current!)
    shown.current.update(text)
  }, [text])
  return <div class="markdown" ref={ref} />
}

/** A text that is being written, drawn once a frame at most. */
export function LiveMarkdown({ text }: { readonly text: ReadonlySignal<string> }) {
  const ref = useRef<HTMLDivElement>(null)
  useEffect(() => {
    const shown = new GrowingMarkdown(ref.current!)
    let frame = 0
    let drawn = ""
    let next = 0
    const draw = (now: number) => {
      frame = requestAnimationFrame(draw)
      if (now < next || text.value === drawn) return
      drawn = text.value
      const began = performance.now()
      shown.update(drawn)
      next = now + (performance.now() - began) * REST
    }
    frame = requestAnimationFrame(draw)
    return () => cancelAnimationFrame(frame)
  }, [text])
  return <div class="markdown" ref={ref} />
}
