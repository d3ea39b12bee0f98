import type { Signal } from "@preact/signals"
import type { ComponentChildren } from "preact"
import { useLayoutEffect, useRef } from "preact/hooks"
import { IconButton } from "./icons.tsx"

interface Props {
  readonly open: Signal<boolean>
  readonly title: string
  readonly children: ComponentChildren
}

/** A window over the page. The browser keeps the focus in it, and gives it back. */
export function Dialog({ open, title, children }: Props) {
  const ref = useRef<HTMLDialogElement>(null)
  const isOpen = open.value
  useLayoutEffect(() => {
    const dialog = ref.current!
    if (isOpen && !dialog.open) dialog.showModal()
    if (!isOpen && dialog.open) dialog.close()
  }, [isOpen])
  const close = () => {
    open.value = false
  }
  return (
    <dialog ref={ref} aria-label={title} onClose={close}>
      <header>
        <h2>{title}</h2>
        <IconButton icon="close" label="Close" onClick={close} />
      </header>
      {isOpen && children}
    </dialog>
  )
}
