import { fileURLToPath } from "node:url"
import type { Page } from "playwright-core"
import { build } from "vite"
import { beforeAll, describe, expect, test } from "vitest"
import { eventually, usePage } from "./chromium.ts"
import { HEAVY, HOSTILE } from "./hostile.ts"
import { importable } from "./stored.ts"

const GROWING = fileURLToPath(new URL("../../web/src/markdown/growing.ts", import.meta.url))

const open = usePage()

/** What of the text's elements could act or load. */
function dangers(): string[] {
  const found: string[] = []
  const allowed =
    /^(?:H[1-6]|P|BR|HR|BLOCKQUOTE|UL|OL|LI|PRE|CODE|SPAN|EM|STRONG|DEL|SUB|SUP|KBD|A|TABLE|THEAD|TBODY|TR|TH|TD)$/
  for (const element of document.querySelectorAll(".markdown *")) {
    if (!allowed.test(element.tagName)) found.push(`element ${element.tagName}`)
    for (const { name, value } of element.attributes) {
      const fine =
        (name === "href" && /^(?:https?:\/\/|mailto:)/i.test(value)) ||
        (name === "class" && /^(?:plain|hljs-|language-)/.test(value)) ||
        /^(?:target|rel|start|align)$/.test(name)
      if (!fine) found.push(`${element.tagName} ${name}=${value}`)
    }
    if (element.tagName !== "A" || !element.hasAttribute("href")) continue
    if (element.getAttribute("rel") !== "noopener noreferrer nofollow") found.push("link without rel")
    if (element.getAttribute("target") !== "_blank") found.push("link without target")
  }
  if ("ran" in window) found.push("a script ran")
  return found
}

describe("a model's text", () => {
  test(`does nothing but be shown, in ${HOSTILE.length} hostile cases`, async () => {
    expect(HOSTILE.length).toBeGreaterThanOrEqual(50)
    const { page, errors } = await open()
    const own = new URL(".", page.url()).href
    const outside: string[] = []
    page.on("request", (request) => {
      if (!request.url().startsWith(own)) outside.push(request.url())
    })
    await page.locator('input[accept*="json"]').setInputFiles(importable(HOSTILE))
    for (let i = 0; i < HOSTILE.length; i++) {
      await page.evaluate((hash) => {
        location.hash = hash
      }, `#/chat/case-${i}`)
      await page.locator(`.conversations a[href="#/chat/case-${i}"][aria-current]`).waitFor()
      const shown = page.locator(".turn.assistant .markdown")
      await eventually(() => shown.count()).toBe(1)
      for (const link of await shown.locator("a[href]").all()) await link.dispatchEvent("mouseover")
      expect(await page.evaluate(dangers), HOSTILE[i]).toEqual([])
    }
    expect(outside.filter((url) => !url.startsWith("blob:"))).toEqual([])
    expect(errors).toEqual([])
  })
})

describe("Markdown that grows", () => {
  let code: string
  beforeAll(async () => {
    const output = await build({
      configFile: false,
      logLevel: "error",
      build: { write: false, minify: false, lib: { entry: GROWING, formats: ["es"] } },
    })
    const [
      {
        output: [chunk],
      },
    ] = output as unknown as [{ output: [{ code: string }] }]
    code = `${chunk.code}\nwindow.GrowingMarkdown = GrowingMarkdown`
  })

  /** A page with nothing but what draws Markdown. */
  async function bare(): Promise<Page> {
    const { page } = await open({ bypassCSP: true })
    await page.goto(new URL("manifest.webmanifest", page.url()).href) // any document without scripts of its own
    await page.setContent("<main></main>")
    await page.addScriptTag({ type: "module", content: code })
    await page.waitForFunction(() => "GrowingMarkdown" in window)
    return page
  }

  test("is at its end as if it had come at once", async () => {
    const page = await bare()
    for (const text of [...SAMPLES, ...HOSTILE]) {
      const [grown, whole] = await page.evaluate(grow, text)
      expect(grown, text).toBe(whole)
    }
  })

  test("takes no long time for any text", async () => {
    const page = await bare()
    for (const { name, text } of HEAVY) {
      const { longest, shown } = await page.evaluate(time, text)
      expect(longest, name).toBeLessThan(3000)
      expect(shown, name).toBeGreaterThan(0)
    }
  })

  test("shows Markdown as what it means", async () => {
    const page = await bare()
    const html = (text: string) => page.evaluate(grow, text).then(([, whole]) => whole)
    expect(await html("# A\n\n*b* **c** `d`")).toBe("<h1>A</h1>\n<p><em>b</em> <strong>c</strong> <code>d</code></p>\n")
    expect(await html("```js\nlet a = 1 < 2\n```")).toContain('<span class="hljs-keyword">let</span>')
    expect(await html("![a cat](https://host.example/cat.png)")).toBe(
      '<p><a href="https://host.example/cat.png" target="_blank" rel="noopener noreferrer nofollow">a cat</a></p>\n',
    )
    expect(await html("a<br>b <div>c</div>")).toBe("<p>a<br>b &lt;div&gt;c&lt;/div&gt;</p>\n")
    expect(await html("| a |\n|---|\n| 1 |")).toContain("<td>1</td>")
    expect(await html("| a |\n|--:|\n| 1 |")).toContain('<td align="right">1</td>')
    expect(await html("7. seven")).toContain('<ol start="7">')
  })
})

interface Growing {
  update(text: string): void
}

/** The HTML of a text that came letter by letter, and of the same at once. */
function grow(text: string): [string, string] {
  const { GrowingMarkdown } = window as unknown as { GrowingMarkdown: new (root: HTMLElement) => Growing }
  const [a, b] = [document.createElement("div"), document.createElement("div")]
  const growing = new GrowingMarkdown(a)
  for (let end = 1; end <= text.length; end++) growing.update(text.slice(0, end))
  new GrowingMarkdown(b).update(text)
  return [a.innerHTML, b.innerHTML]
}

/** Milliseconds of the longest update of a text that comes in twenty pieces. */
function time(text: string): { longest: number; shown: number } {
  const { GrowingMarkdown } = window as unknown as { GrowingMarkdown: new (root: HTMLElement) => Growing }
  const root = document.querySelector("main")!
  root.replaceChildren()
  const growing = new GrowingMarkdown(root)
  let longest = 0
  for (let piece = 1; piece <= 20; piece++) {
    const began = performance.now()
    growing.update(text.slice(0, Math.ceil((text.length * piece) / 20)))
    longest = Math.max(longest, performance.now() - began)
  }
  return { longest, shown: root.textContent!.length }
}

const SAMPLES = [
  "# Title\n\nA paragraph\nof two lines.\n\nAnother\n=======\n\nMore\n----\n",
  "- a\n- b\n\n  still b\n- c\n\n\n- d\n\ntext\n\n1. one\n2. two\n   - in\n   - in too\n\n3. three\n",
  "* a\n\n- b\n\n+ c\n\n---\n\n***\n",
  "Text:\n\n```ts\nconst a: number = 1\n\nfunction f() {}\n```\n\nand `code`.\n\n~~~\nno language\n~~~\n",
  "| a | b |\n|:--|--:|\n| 1 | 2 |\n| 3 | 4 |\n\nafter\n",
  "> quoted\n> more\n\n> again\nlazy\n\n> > deeper\n",
  "    indented code\n\n    more of it\n\ntext\n",
  "<div>\nraw\n\n</div>\n\n<!-- comment\n\nthat spans -->\n\nend\n",
  "[a]: https://host.example\n\n[a] and [b][a]\n\n[^1]: note\n",
  "line  \nbreak\\\nbreak\r\nwindows\r\n\r\nnew\ttab\n\n\ttabbed code\n",
  `${"A sentence that is repeated. ".repeat(40)}\n\n${"- item\n".repeat(60)}\n${"x ".repeat(100)}`,
]
