"use strict"

// What pages with a person on a stage have in common: marks on a picture, words, lists.
const element = Object.fromEntries([...document.querySelectorAll("[id]")].map(found => [found.id, found]))
const ROWS = 40, ZOOM = 1.6, MOST_ZOOM = 10

// ---- what is drawn

function svg(name, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  parent?.append(made)
  return made
}

// A path in a colour on a darker one that is wider: it is seen on light and on dark.
function mark(parent, d, colour, {width = 2, dash = "", kind = "", halo = true} = {}) {
  const common = {d, "stroke-dasharray": dash}
  if (halo) svg("path", {...common, class: "mark halo", "stroke-width": width + 2.5}, parent)
  svg("path", {...common, class: `mark ${kind}`, stroke: colour, "stroke-width": width}, parent)
}

const SHAPES = {  // of half-width r about (x, y)
  cross: (x, y, r) => `M${x - r} ${y - r}L${x + r} ${y + r}M${x - r} ${y + r}L${x + r} ${y - r}`,
  plus: (x, y, r) => `M${x - r} ${y}H${x + r}M${x} ${y - r}V${y + r}`,
  square: (x, y, r) => `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
  diamond: (x, y, r) => `M${x} ${y - r}L${x + r} ${y}L${x} ${y + r}L${x - r} ${y}z`,
  dot: (x, y, r) => `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`,
}

function ellipse([x, y], [xx, xy, yy], radius) {
  const half = (xx + yy) / 2, spread = Math.hypot((xx - yy) / 2, xy)
  const [long, short] = [half + spread, Math.max(half - spread, 0)].map(value => radius * Math.sqrt(value))
  const angle = Math.atan2(2 * xy, xx - yy) / 2, [dx, dy] = [long * Math.cos(angle), long * Math.sin(angle)]
  const turn = angle * 180 / Math.PI
  const arc = `A${long} ${short} ${turn} 1 0`
  return `M${x - dx} ${y - dy}${arc} ${x + dx} ${y + dy}${arc} ${x - dx} ${y - dy}`
}

// Pixels of the image in one of the screen.
function unitOf({width, height}) {
  return Math.max(width / (element.picture.clientWidth || 600), height / (element.picture.clientHeight || 400))
}

// Which of a pair each joint is (first, second, or none: others), and what the two are called, such as left and right.
function sidesOf(joints, partner) {
  const sideOf = (other, joint) => other === joint ? "others" : other > joint ? "first" : "second"
  const pair = partner.findIndex((other, joint) => other > joint)
  const parts = pair < 0 ? [[], []] : [pair, partner[pair]].map(joint => joints[joint].split(/[^\p{L}]+/u))
  const only = side => parts[side].filter(part => !parts[1 - side].includes(part)).join(" ")
  return {side: partner.map(sideOf), first: only(0) || "one side", second: only(1) || "the other side"}
}

function drawFault(stage, fault, view, width, height) {
  for (const [line, text] of ["There is no picture:", fault].entries()) {
    const size = width / Math.max(28, text.length * 0.6), y = view.y + height / 2 - (1.8 - 1.3 * line) * size
    svg("text", {class: "missing", x: view.x, y, "font-size": size}, stage).textContent = text
  }
}

// ---- what is written

function words(name) {
  return name.replaceAll("_", " ")
}

function percent(probability) {
  return probability > 0.995 && probability < 1 ? ">99%" : `${Math.round(100 * probability)}%`
}

function make(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}

function filled(select, options) {
  select.replaceChildren(...options.map(([value, text]) => make("option", {value}, text)))
}

// The page of the list that has the current one; `row` makes an item of what is shown and its place.
function writeList(shown, current, row) {
  const place = Math.max(0, shown.indexOf(current)), first = place - place % ROWS
  const focused = element.rows.contains(document.activeElement)
  element.rows.start = first + 1
  element.rows.replaceChildren(...shown.slice(first, first + ROWS).map((one, i) => row(one, first + i)))
  const here = element.rows.querySelector("[aria-current]")
  if (focused) here?.focus()
  if (here) element.rows.scrollTop = here.offsetTop - element.rows.offsetTop - element.rows.clientHeight / 2
  const last = Math.min(first + ROWS, shown.length)
  element.pages.textContent = shown.length > ROWS ? `${first + 1} to ${last} of ${shown.length}` : ""
  element["page-back"].disabled = first === 0
  element["page-on"].disabled = last >= shown.length
}

// ---- what is pressed

// Buttons by the key that does the same, keys outside of `fields`, rows of the list, its pages, and the stage. The page has
// `go` (to the person of that index), `turn` (pages of the list), `drag` and `render`.
function listen(clicked, done, fields) {
  element.rows.addEventListener("click", event => {
    const row = event.target.closest("[data-index]")
    if (row) go(Number(row.dataset.index))
  })
  for (const [id, key] of Object.entries(clicked)) element[id].addEventListener("click", done[key])
  element["page-back"].addEventListener("click", () => turn(-1))
  element["page-on"].addEventListener("click", () => turn(1))
  element.picture.addEventListener("pointermove", drag)
  addEventListener("resize", render)
  addEventListener("keydown", event => {
    const elsewhere = event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.(fields)
    if (elsewhere || !Object.hasOwn(done, event.key)) return
    event.preventDefault()
    done[event.key]()
  })
}
