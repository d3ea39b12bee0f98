/**
 * What a report does in a browser: tables that sort, cells that open the instances behind them. Texts of models and prompts only ever
 * become text nodes. Plain JavaScript, as it stands in the page.
 */
export const SCRIPT = `
const data = JSON.parse(document.getElementById("instances").textContent)
const dialog = document.querySelector("dialog")
const list = dialog.querySelector(".list")
const order = dialog.querySelector("select")
const PAGE = 100
let chosen = []

const number = (value) => value.toLocaleString("en-US")
const score = (value) => (value === null ? "none" : Math.abs(value) < 10 ? value.toFixed(3) : value.toPrecision(4))

function element(name, className, ...children) {
  const made = document.createElement(name)
  if (className) made.className = className
  made.append(...children)
  return made
}

function button(text, act) {
  const made = element("button", "link", text)
  made.type = "button"
  made.addEventListener("click", act)
  return made
}

/** A box that scrolls where a text is long, by keys too. */
function textBox(...content) {
  const made = element("pre", "text", ...content)
  made.tabIndex = 0
  return made
}

/** A text with what was looked for marked in it. */
function marked(text, refs) {
  const wanted = refs.filter((ref) => ref.length > 1).map((ref) => ({ ref, place: text.indexOf(ref) }))
  const found = document.createDocumentFragment()
  let at = 0
  for (let count = 0; count < 1000; count++) {
    for (const each of wanted) if (each.place >= 0 && each.place < at) each.place = text.indexOf(each.ref, at)
    const next = wanted.filter(({ place }) => place >= 0)
    if (next.length === 0) break
    const { place, ref } = next.reduce((a, b) => (b.place - a.place || a.ref.length - b.ref.length) < 0 ? b : a)
    found.append(text.slice(at, place), element("mark", "", ref))
    at = place + ref.length
  }
  found.append(text.slice(at))
  return found
}

function promptView(index, refs) {
  const prompt = JSON.parse(document.getElementById("prompt-" + index).textContent)
  const box = textBox()
  let end = 0
  const gap = (to) => {
    if (to > end) box.append(element("span", "gap", number(to - end) + " characters not shown"))
  }
  prompt.shown.forEach(([from, to], i) => {
    gap(from)
    box.append(marked(prompt.parts ? prompt.parts[i] : prompt.text.slice(from, to), refs))
    end = to
  })
  gap(prompt.length)
  const view = element("div", "", box)
  if (prompt.text === undefined) view.append(element("p", "quiet", "This report does not carry the whole of this prompt."))
  else if (prompt.shown.length > 1 || end < prompt.length) {
    const more = button("Show all " + number(prompt.length) + " characters", () => {
      box.replaceChildren(marked(prompt.text, refs))
      more.remove()
      box.focus()
    })
    view.append(more)
  }
  return view
}

function titled(title, ...content) {
  return element("section", "", element("h4", "", title), ...content)
}

/** Numbers that a result has beside its score. */
function facts(result) {
  const all = [["prompt", number(result.promptTokens) + " tokens"], ["answer", number(result.answerTokens) + " tokens"]]
  all.push(["time", (result.ms / 1000).toFixed(2) + " s"])
  for (const [name, value] of Object.entries(result.parts ?? {})) all.push([name, score(value)])
  for (const [name, value] of Object.entries(result.baselines ?? {})) all.push(["baseline, " + name, score(value)])
  return element("p", "quiet", all.map(([name, value]) => name + " " + value).join(" · "))
}

function outcome(result, run) {
  const title = element("h4", "", data.runs[run], " ", pill(result, run))
  const part = element("section", "", title)
  if (result.trouble !== undefined) part.append(element("p", "trouble", result.trouble))
  if (result.answer !== undefined) part.append(textBox(marked(result.answer, result.refs ?? [])))
  part.append(facts(result))
  return part
}

function instanceBody({ runs, id }) {
  const results = runs.filter(Boolean)
  const { refs = [], meta } = results[0]
  const body = element("div", "body", element("p", "quiet id", id))
  const prompts = [...new Set(results.map(({ prompt }) => prompt))].filter((prompt) => prompt !== undefined)
  for (const prompt of prompts) {
    const of = data.runs.filter((_, i) => runs[i]?.prompt === prompt).join(", ")
    body.append(titled(prompts.length > 1 ? "Prompt, " + of : "Prompt", promptView(prompt, refs)))
  }
  if (refs.length > 0) body.append(titled("Looked for", element("ul", "refs", ...refs.map((ref) => element("li", "", ref)))))
  runs.forEach((result, run) => result && body.append(outcome(result, run)))
  if (meta && Object.keys(meta).length > 0) {
    const facts = textBox(JSON.stringify(meta, null, 2))
    body.append(element("details", "", element("summary", "", "Facts of the instance"), facts))
  }
  return body
}

function pill(result, run) {
  const text = !result ? "–" : result.score === undefined ? "×" : score(result.score)
  const made = element("span", "pill s" + (run % 6), text)
  made.title = data.runs[run]
  return made
}

function place({ length, depth, sample }) {
  const parts = length === undefined ? [] : [number(length) + " tokens"]
  if (depth !== undefined) parts.push("depth " + depth + " %")
  return [...parts, "sample " + sample].join(", ")
}

function item(instance) {
  const summary = element("summary", "", element("span", "", place(instance)), ...instance.runs.map(pill))
  const made = element("details", "instance", summary)
  made.addEventListener("toggle", () => made.open && made.childElementCount === 1 && made.append(instanceBody(instance)))
  return made
}

/** How far an instance is from good, and how far the runs are from each other. */
const sign = ({ task }) => (data.tasks[task] === "lower" ? -1 : 1)
const scores = ({ runs }) => runs.flatMap((result) => result?.score ?? [])
const worst = (instance) => Math.min(...scores(instance).map((each) => sign(instance) * each))
const apart = (instance) => Math.min(...scores(instance)) - Math.max(...scores(instance))
const ORDERS = { place: () => 0, worst, apart }

function show(from) {
  const next = chosen.slice(from, from + PAGE)
  list.append(...next.map(item))
  const left = chosen.length - from - next.length
  if (left > 0) {
    const more = button("Show more of the other " + number(left), () => {
      more.remove()
      show(from + PAGE)
    })
    list.append(more)
  }
}

function arrange() {
  const by = ORDERS[order.value]
  const inPlace = (a, b) => (a.length ?? 0) - (b.length ?? 0) || (a.depth ?? 0) - (b.depth ?? 0) || a.sample - b.sample
  chosen.sort((a, b) => by(a) - by(b) || inPlace(a, b))
  list.replaceChildren()
  show(0)
  if (chosen.length === 1) list.querySelector("details").open = true
}

function open({ task, length, depth }) {
  const at = (wanted, is) => wanted === undefined || Number(wanted) === is
  chosen = data.instances.filter((each) => each.task === task && at(length, each.length) && at(depth, each.depth))
  const where = [length && number(Number(length)) + " tokens", depth && "depth " + depth + " %"].filter(Boolean)
  dialog.querySelector("h3").textContent = [task, ...where].join(", ")
  dialog.querySelector(".count").textContent = number(chosen.length) + (chosen.length === 1 ? " instance" : " instances")
  arrange()
  dialog.showModal()
  list.scrollTop = 0
}

order.addEventListener("change", arrange)
dialog.querySelector(".close").addEventListener("click", () => dialog.close())
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close())
for (const each of document.querySelectorAll("button[data-task]")) each.addEventListener("click", () => open(each.dataset))

/** Cells are one stop of the Tab key; arrow keys go from one to another. */
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }
for (const map of document.querySelectorAll("svg.chart")) {
  const cells = [...map.querySelectorAll(".cell")]
  const values = (key) => [...new Set(cells.map(({ dataset }) => Number(dataset[key])))].sort((a, b) => a - b)
  const [lengths, depths] = [values("length"), values("depth")]
  cells.forEach((cell, i) => {
    cell.setAttribute("role", "button")
    cell.setAttribute("tabindex", i === 0 ? "0" : "-1")
    cell.addEventListener("click", () => open(cell.dataset))
    cell.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") open(cell.dataset)
      else if (!STEPS[event.key]) return
      else {
        const [x, y] = STEPS[event.key]
        const length = lengths[lengths.indexOf(Number(cell.dataset.length)) + x]
        const depth = depths[depths.indexOf(Number(cell.dataset.depth)) + y]
        const next = cells.find(({ dataset }) => Number(dataset.length) === length && Number(dataset.depth) === depth)
        if (next) {
          cell.setAttribute("tabindex", "-1")
          next.setAttribute("tabindex", "0")
          next.focus()
        }
      }
      event.preventDefault()
    })
  })
}

/** A column's values are numbers where its cells say so; what has none stays last. */
function sortBy(table, column, header) {
  const down = header.getAttribute("aria-sort") === "ascending"
  for (const each of table.tHead.rows[0].cells) each.removeAttribute("aria-sort")
  header.setAttribute("aria-sort", down ? "descending" : "ascending")
  const body = table.tBodies[0]
  const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent
  const compare = (a, b) => (Number.isFinite(Number(a) - Number(b)) ? Number(a) - Number(b) : a.localeCompare(b))
  const rows = [...body.rows].map((row) => [value(row), row])
  rows.sort(([a], [b]) => (a === "" || b === "" ? (a === "") - (b === "") : (down ? -1 : 1) * compare(a, b)))
  body.append(...rows.map(([, row]) => row))
}
for (const header of document.querySelectorAll("th button.sort")) {
  const cell = header.closest("th")
  header.addEventListener("click", () => sortBy(cell.closest("table"), cell.cellIndex, cell))
}
`
