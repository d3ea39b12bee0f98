// Keeps the page's files, the storyteller's among them, so that it works without a network after the first visit. Nothing of other
// hosts goes through here.

/** What the build puts in: names of the files, and a version that changes with any of them. */
const BUILT = "__FILES__" as unknown as { readonly version: string; readonly files: readonly string[] }
const CACHE = `gemlet-${BUILT.version}`

/** What a service worker has of its global scope; the library of its types knows no documents beside it. */
interface Scope {
  readonly registration: { readonly scope: string }
  readonly clients: { claim(): Promise<void> }
  addEventListener(type: "install" | "activate", listener: (event: LifeEvent) => void): void
  addEventListener(type: "fetch", listener: (event: RequestEvent) => void): void
}

interface LifeEvent {
  waitUntil(work: Promise<unknown>): void
}

interface RequestEvent {
  readonly request: Request
  respondWith(response: Promise<Response>): void
}

const scope = globalThis as unknown as Scope

// A newer version waits until all tabs of the older one are closed, whose files would be gone else.
scope.addEventListener("install", (event) => event.waitUntil(keepFiles()))
scope.addEventListener("activate", (event) => event.waitUntil(takeOver()))
scope.addEventListener("fetch", (event) => {
  const { request } = event
  if (request.method === "GET" && request.url.startsWith(scope.registration.scope)) event.respondWith(answer(request))
})

async function keepFiles(): Promise<void> {
  const cache = await caches.open(CACHE)
  await cache.addAll(BUILT.files.map((file) => new Request(file, { cache: "reload" })))
}

async function takeOver(): Promise<void> {
  const old = (await caches.keys()).filter((name) => name.startsWith("gemlet-") && name !== CACHE)
  await Promise.all(old.map((name) => caches.delete(name)))
  await scope.clients.claim()
}

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE)
  const wanted = request.mode === "navigate" ? scope.registration.scope : request // the page is one document
  const kept = await cache.match(wanted, { ignoreSearch: true, ignoreVary: true })
  if (!kept) return elsewhere(request)
  const range = request.headers.get("range")
  return range === null ? kept : part(kept, range)
}

/** What is not kept. Of the storyteller all there is is kept: a file that it has not is not there without a network either. */
async function elsewhere(request: Request): Promise<Response> {
  try {
    return await fetch(request)
  } catch (error) {
    if (request.url.startsWith(`${scope.registration.scope}weights/storyteller/`)) {
      return new Response(undefined, { status: 404 })
    }
    throw error
  }
}

/** The bytes that were asked for: caches keep whole files. */
async function part(kept: Response, range: string): Promise<Response> {
  const blob = await kept.blob()
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? []
  const start = Number(from)
  const end = Math.min(to ? Number(to) : blob.size - 1, blob.size - 1)
  if (from === undefined || start > end) {
    return new Response(undefined, { status: 416, headers: { "content-range": `bytes */${blob.size}` } })
  }
  const headers = { "content-type": blob.type, "content-range": `bytes ${start}-${end}/${blob.size}` }
  return new Response(blob.slice(start, end + 1), { status: 206, headers })
}
