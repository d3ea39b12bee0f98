import { fileURLToPath } from "node:url"
import { defineConfig } from "vite"
import { plainShaders } from "./build/plain_shaders.ts"
import { staticSite } from "./build/static_site.ts"

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  root: here("."),
  base: "./", // any folder of any host
  plugins: [staticSite()],
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  worker: { format: "es", plugins: () => [plainShaders()] },
  server: { fs: { allow: [here("..")] } },
  build: {
    target: "es2023",
    outDir: "dist",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { page: here("index.html"), service_worker: here("src/service_worker.ts") },
      output: {
        // A service worker is known by its address, so that one has no hash in it.
        entryFileNames: ({ name }) => (name === "service_worker" ? "service_worker.js" : "assets/[name]-[hash].js"),
      },
    },
  },
})
