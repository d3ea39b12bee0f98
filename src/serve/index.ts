// gemlet/serve: an OpenAI-compatible server, for Node and Deno.
export { type ServeApp, serveApp } from "./app.ts"
export type { RequestEntry, ServeOptions } from "./options.ts"
export { createServer, expectFree, type Server, type ServerOptions } from "./server.ts"
