import type { WireError } from "./wire_errors.ts"

/** What one end asks of the other: with what, and what comes back on the way, one by one, and at the end. */
export interface Method<Args, Result = void, Event = never, Item = never> {
  readonly args: Args
  readonly result: Result
  /** Told on the way, whenever the other end likes. */
  readonly event: Event
  /** Given one by one, never more of them than were asked for. */
  readonly item: Item
}

export type Methods = Readonly<Record<string, Method<unknown, unknown, unknown, unknown>>>

/** A call by its method. */
type Call<M> = {
  [K in keyof M]: M[K] extends Method<infer Args, unknown, unknown, unknown>
    ? {
        readonly type: "call"
        readonly id: number
        readonly method: K
        readonly args: Args
        /** Items that may come before more are asked for. */
        readonly ahead: number
      }
    : never
}[keyof M]

/** What the end that asks sends; ids count its calls. */
type Asking<M> =
  | Call<M>
  /** More items may come. */
  | { readonly type: "pull"; readonly id: number }
  /** No more items are wanted; what they come from is to end in its own way. */
  | { readonly type: "leave"; readonly id: number }
  /** The call's signal. */
  | { readonly type: "cancel"; readonly id: number; readonly reason: WireError }

/** What the end that is asked sends, under the asking end's ids. */
type Answering<M extends Methods> =
  | { readonly type: "event"; readonly id: number; readonly event: M[keyof M]["event"] }
  | { readonly type: "item"; readonly id: number; readonly item: M[keyof M]["item"] }
  | { readonly type: "result"; readonly id: number; readonly result: M[keyof M]["result"] }
  | { readonly type: "failure"; readonly id: number; readonly error: WireError }

/** All that one end sends: it asks for some methods and answers to others. */
export type Message<Asks extends Methods, Serves extends Methods, Notice> =
  | Asking<Asks>
  | Answering<Serves>
  /** Of itself, as of the moment before whatever is sent next. */
  | { readonly type: "notice"; readonly notice: Notice }
  /** The sender is gone, or has had a message that cannot be read. */
  | { readonly type: "end"; readonly error: WireError }
