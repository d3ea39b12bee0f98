import { Channel, type EnginePort } from "./channel.ts"
import { HostCheckpoints } from "./host_checkpoints.ts"
import { modelStoreHandlers } from "./host_model_stores.ts"
import { HostModels } from "./host_models.ts"
import { HostTunings } from "./host_tunings.ts"
import { type EngineApi, HostWire } from "./host_wire.ts"
import type { HostMethods, Notice, PageMethods } from "./protocol.ts"
import type { Handlers } from "./served.ts"

export type { EnginePort } from "./channel.ts"
export type { EngineApi } from "./host_wire.ts"

/**
 * Serves an engine over a port: what the page's `Engine` at the other end asks for happens here. Models belong to the port, and
 * are disposed when it closes; several ports may be served at once.
 *
 * @param port a MessagePort, or what is global in a Worker's script
 * @param api  the platform's functions: `gemlet` in Node, `gemlet/browser` elsewhere
 */
export function serveEngine(port: EnginePort, api: EngineApi): void {
  const notify = (notice: Notice) => channel.notify(notice)
  const wire = new HostWire(api, () => channel)
  const checkpoints = new HostCheckpoints(api, wire)
  const models = new HostModels(api, wire, notify)
  const tunings = new HostTunings(models, wire, notify)
  const chunks = { chunks: ({ chunks }: HostMethods["chunks"]["args"]) => wire.chunks(chunks) }
  const handlers: Handlers<HostMethods> = {
    ...checkpoints.handlers,
    ...models.handlers,
    ...tunings.handlers,
    ...modelStoreHandlers(api, wire),
    ...chunks,
  }
  const onEnd = () => {
    tunings.stop()
    checkpoints.close()
    models.dispose()
  }
  const channel = new Channel<PageMethods, HostMethods, Notice>(port, { handlers, onEnd })
}
