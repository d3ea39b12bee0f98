import createDOMPurify from "dompurify"

// What Markdown is made of, and nothing else: no script, style, frame, form or image, and no attribute that acts or loads.
const TAGS = [
  ...["h1", "h2", "h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "ul", "ol", "li", "pre", "code", "span"],
  ...["em", "strong", "del", "sub", "sup", "kbd", "a", "table", "thead", "tbody", "tr", "th", "td"],
]
const ATTRIBUTES = ["href", "class", "start", "align"]
const LINKS = /^(?:https?:|mailto:)/i
/** Code colours and the language of a block; a text's own classes could borrow the page's looks. */
const CLASSES =
  /^(?:hljs-[\w-]+|language-[\w+#.-]+|function_|class_|inherited__|built_in_)(?: (?:hljs-[\w-]+|[\w-]+_+))*$/

const purifier = createDOMPurify(window)
purifier.addHook("uponSanitizeAttribute", (_node, data) => {
  if (data.attrName === "class" && !CLASSES.test(data.attrValue)) data.keepAttr = false
})
purifier.addHook("afterSanitizeAttributes", (node) => {
  if (node.nodeName !== "A") return
  if (!node.hasAttribute("href")) return
  node.setAttribute("target", "_blank")
  node.setAttribute("rel", "noopener noreferrer nofollow")
})

/** HTML as nodes that can be shown, whatever was in it. */
export function sanitized(html: string): DocumentFragment {
  return purifier.sanitize(html, {
    ALLOWED_TAGS: TAGS,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOWED_URI_REGEXP: LINKS,
    ADD_URI_SAFE_ATTR: ["start", "align"], // which are no addresses
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  })
}
