import type { Plugin } from "vite"

const SHADERS = /\/src\/kernels\/shaders\.ts$/

/**
 * Takes comments and indentation out of shaders: a sixth of what the page downloads. Lines stay where they are, so that an error
 * still names the right one.
 */
export function plainShaders(): Plugin {
  return {
    name: "gemlet-plain-shaders",
    apply: "build",
    enforce: "pre",
    transform(code, id) {
      if (!SHADERS.test(id)) return undefined
      // Sources are strings in JSON's form, with \\n for the end of a line.
      return { code: code.replace(/"source":("(?:[^"\\]|\\.)*")/g, (_, text) => `"source":${plain(text)}`), map: null }
    },
  }
}

function plain(text: string): string {
  const lines = (JSON.parse(text) as string).split("\n")
  return JSON.stringify(lines.map((line) => line.replace(/\/\/.*$/, "").trim()).join("\n"))
}
