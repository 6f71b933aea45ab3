// Predictions, one person at a time. `gallery` is what is known of all persons; the rest comes in parts.
const gallery = JSON.parse(element.gallery.textContent)
const JOINTS = gallery.joints.length, NONE = "order"
const measures = gallery.measures.map(one => ({...one, values: numbersOf(one.values)}))
const parts = new Map()  // by index: persons, or functions that wait for them
const MARKS = {  // shape, colour, half-width in pixels of the screen, words
  first: ["plus", "#49b9ff", 5, "prediction"],
  second: ["plus", "#c99bff", 5, "prediction"],
  others: ["plus", "#5ee08b", 5, "prediction"],
  label: ["cross", "#ff7d3b", 5, "label, joined with its prediction"],
}
const PAIRS = sidesOf(gallery.joints, gallery.partner)
const FAULT = "its part of the data is missing: keep the folder beside the page"

let shown = []  // indices of persons in their order
let current = -1  // index of the person on the stage
let view = {zoom: 1, x: 0, y: 0}  // (x, y) is the centre in pixels of the image

// ---- data

function numbersOf(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
  return new Float32Array(bytes.buffer)
}

// Parts beside the page are scripts that call this: a page without a server may read no files.
function takePart(index, persons) {
  const waiting = parts.get(index)
  parts.set(index, persons)
  if (Array.isArray(waiting)) return
  waiting?.forEach(then => then(persons))
}

// Call `then` with the persons of a part, or with null where it is missing.
function withPart(index, then) {
  const found = parts.get(index), own = element[`part-${index}`]
  if (Array.isArray(found)) return then(found)
  if (own) { takePart(index, JSON.parse(own.textContent)); return then(parts.get(index)) }
  if (found) return found.add(then)
  parts.set(index, new Set([then]))
  const script = make("script", {src: `${gallery.folder}/part-${index}.js`})
  script.addEventListener("error", () => {
    const waiting = parts.get(index)
    parts.delete(index)
    waiting.forEach(one => one(null))
  })
  document.head.append(script)
}

function withPerson(index, then) {
  withPart(Math.floor(index / gallery.part), persons => then(persons && persons[index % gallery.part]))
}

// ---- order

function measure() {
  return measures.find(one => one.name === element.sort.value)
}

// What a person is sorted by: the value of the chosen joint, or the largest or the mean of all; NaN where unknown.
function valueOf({values, over}, person, joint) {
  if (joint >= 0) return values[person * JOINTS + joint]
  let largest = -Infinity, sum = 0, count = 0
  for (let k = person * JOINTS; k < (person + 1) * JOINTS; k++) {
    if (Number.isNaN(values[k])) continue
    count += 1
    sum += values[k]
    if (values[k] > largest) largest = values[k]
  }
  return count === 0 ? NaN : over === "max" ? largest : sum / count
}

function chosenJoint() {
  return element.joint.value === "" ? -1 : Number(element.joint.value)
}

function sort() {
  const everyone = Array.from({length: gallery.persons}, (_, person) => person), one = measure()
  if (!one) { shown = element.ascending.checked ? everyone.reverse() : everyone; return }
  const joint = chosenJoint(), values = Float64Array.from(everyone, person => valueOf(one, person, joint))
  const sign = element.ascending.checked ? 1 : -1
  shown = everyone.filter(person => !Number.isNaN(values[person]))
  shown.sort((a, b) => sign * (values[a] - values[b]) || a - b)
}

function resort() {
  sort()
  go(shown[0] ?? -1)
}

function go(person) {
  if (person !== current) view = {zoom: 1, x: 0, y: 0}
  current = person
  remember()
  render()
}

function step(by) {
  const place = shown.indexOf(current) + by
  if (place >= 0 && place < shown.length) go(shown[place])
}

function cycle(select, by) {
  const count = select.options.length
  select.selectedIndex = (select.selectedIndex + by + count) % count
  resort()
}

function toggle(box) {
  box.checked = !box.checked
  remember()
  render()
}

// ---- the address keeps the place

function remember() {
  const place = new URLSearchParams({sort: element.sort.value, person: String(current)})
  if (element.joint.value !== "") place.set("joint", gallery.joints[Number(element.joint.value)])
  for (const id of ["ascending", "regions", "labels"])
    if (element[id].checked !== element[id].defaultChecked) place.set(id, String(element[id].checked))
  try { history.replaceState(null, "", `#${place}`) } catch { /* a page that is in no file has no address */ }
}

function recall() {
  const place = new URLSearchParams(location.hash.slice(1)), joint = gallery.joints.indexOf(place.get("joint"))
  if ([...element.sort.options].some(({value}) => value === place.get("sort"))) element.sort.value = place.get("sort")
  if (joint >= 0) element.joint.value = String(joint)
  for (const id of ["ascending", "regions", "labels"]) if (place.has(id)) element[id].checked = place.get(id) === "true"
  sort()
  const person = Number(place.get("person") ?? NaN)
  go(shown.includes(person) ? person : shown[0] ?? -1)
}

// ---- what is drawn

function drawPerson(person) {
  const stage = element.picture, [x, y, width, height] = person.view, [w, h] = [width / view.zoom, height / view.zoom]
  const centre = {x: x + width / 2 + view.x, y: y + height / 2 + view.y}
  stage.replaceChildren()
  stage.setAttribute("viewBox", `${centre.x - w / 2} ${centre.y - h / 2} ${w} ${h}`)
  stage.setAttribute("aria-label", described(person))
  if (person.picture) svg("image", {href: person.picture, x, y, width, height, preserveAspectRatio: "none"}, stage)
  else drawFault(stage, person.fault, centre, w, h)
  const unit = unitOf({width: w, height: h}), [left, top, wide, high] = person.box
  mark(stage, `M${left - 0.5} ${top - 0.5}h${wide}v${high}h${-wide}z`, "#ffffff", {width: 1, kind: "faint", halo: false})
  drawEdges(stage, person)
  const joint = chosenJoint()
  for (let k = 0; k < JOINTS; k++) if (joint < 0 || k === joint) drawJoint(stage, person, k, unit)
}

function drawEdges(stage, person) {
  for (const [one, other] of gallery.edges) {
    const colour = MARKS[PAIRS.side[one] === PAIRS.side[other] ? PAIRS.side[one] : "others"][1]
    if (person.points[one] && person.points[other])
      mark(stage, `M${person.points[one]}L${person.points[other]}`, colour, {width: 1.2, kind: "faint", halo: false})
  }
}

function drawJoint(stage, person, joint, unit) {
  const point = person.points[joint], label = person.labels.find(([k]) => k === joint)
  const [shape, colour, size] = MARKS[PAIRS.side[joint]]
  if (point && element.regions.checked) drawRegions(stage, person, joint, colour)
  if (label && element.labels.checked) {
    const [, x, y] = label, [, orange, half] = MARKS.label
    if (point) mark(stage, `M${point}L${x} ${y}`, orange, {width: 1.2, dash: "3 3"})
    mark(stage, SHAPES.cross(x, y, half * unit), orange, {width: 2})
  }
  if (point) mark(stage, SHAPES[shape](...point, size * unit), colour, {width: 2})
}

function drawRegions(stage, person, joint, colour) {
  const moved = person.moved?.[joint], paths = moved ? gallery.shapes[joint] : person.regions?.[joint] ?? []
  for (const d of paths) {
    const shape = moved ? {d, transform: `matrix(${moved.join(" ")})`} : {d}
    svg("path", {...shape, class: "region", stroke: "#000", "stroke-opacity": 0.45, "stroke-width": 3}, stage)
    svg("path", {...shape, class: "region", stroke: colour, "stroke-width": 1.4}, stage)
  }
}

function zoom(factor) {
  view = view.zoom * factor <= 1 || factor === 0 ? {zoom: 1, x: 0, y: 0}
    : {...view, zoom: Math.min(MOST_ZOOM, view.zoom * factor)}
  render()
}

function drag(event) {
  if (!(event.buttons & 1) || view.zoom === 1) return
  const unit = unitOf(element.picture.viewBox.baseVal)
  view = {...view, x: view.x - event.movementX * unit, y: view.y - event.movementY * unit}
  render()
}

// ---- what is written

function short(value) {
  const size = Math.abs(value)
  return Number.isNaN(value) ? "–" : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)
}

function described(person) {
  return `annotation ${person.annotation_id} in ${person.file_name}`
}

function writeNumbers(person) {
  element.title.textContent = `annotation ${person.annotation_id}`
  element.place.textContent = `${person.file_name}, image ${person.image_id}, number ${person.place + 1} of the data`
  element.caption.textContent = described(person)
  const headings = measures.map(one => make("th", {scope: "col", title: one.words}, one.heading))
  const head = make("tr", {}, make("th", {scope: "col"}, "joint"), ...headings)
  const rows = gallery.joints.map((name, joint) => {
    const cells = measures.map(one => make("td", {}, short(valueOf(one, current, joint))))
    const made = make("tr", {}, make("th", {scope: "row"}, words(name)), ...cells)
    if (joint === chosenJoint()) made.setAttribute("aria-current", "true")
    return made
  })
  element.table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows))
}

function writeLegend(person) {
  const sides = ["first", "second", "others"].filter(side => PAIRS.side.includes(side))
  const names = {first: `, ${PAIRS.first}`, second: `, ${PAIRS.second}`, others: sides.length > 1 ? ", neither" : ""}
  const drawn = [...sides, ...person.labels.length ? ["label"] : []]
  element.legend.replaceChildren(...drawn.map(name => {
    const [shape, colour, size, text] = MARKS[name], icon = svg("svg", {viewBox: "-11 -11 22 22", "aria-hidden": "true"})
    mark(icon, SHAPES[shape](0, 0, size), colour, {width: 2.5})
    return make("li", {}, icon, `${text}${names[name] ?? ""}`)
  }), ...gallery.shapes.length || person.regions ? [make("li", {}, "lines: regions that should hold 50% and 90%")] : [])
}

function row(person, place) {
  const one = measure(), value = one ? short(valueOf(one, person, chosenJoint())) : ""
  const made = make("button", {type: "button"}, make("span", {}, `person ${place + 1}`), make("span", {}, value))
  made.dataset.index = person
  if (person === current) made.setAttribute("aria-current", "true")
  return make("li", {}, made)
}

function writeStatus() {
  const place = shown.indexOf(current), one = measure()
  const sorted = one ? `, sorted by ${one.words}` : ""
  element.status.textContent = shown.length
    ? `Person ${(place + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}${sorted}.`
    : "No person has a value of this joint."
  element.previous.disabled = place <= 0
  element.next.disabled = place >= shown.length - 1
}

function render() {
  element.bench.hidden = current < 0
  writeStatus()
  if (current < 0) return
  writeList(shown, current, row)
  const wanted = current
  withPerson(wanted, person => {
    if (wanted !== current) return
    if (!person) { element.title.textContent = FAULT; element.picture.replaceChildren(); return }
    drawPerson(person)
    writeNumbers(person)
    writeLegend(person)
  })
  const follows = shown[shown.indexOf(current) + 1]
  if (follows !== undefined) withPerson(follows, person => { if (person?.picture) new Image().src = person.picture })
}

// ---- what is done

const DONE = {
  n: () => step(1), ArrowRight: () => step(1), p: () => step(-1), ArrowLeft: () => step(-1),
  s: () => cycle(element.sort, 1), S: () => cycle(element.sort, -1),
  j: () => cycle(element.joint, 1), k: () => cycle(element.joint, -1),
  g: () => toggle(element.regions), l: () => toggle(element.labels),
  "+": () => zoom(ZOOM), "=": () => zoom(ZOOM), "-": () => zoom(1 / ZOOM), 0: () => zoom(0),
}

const CLICKED = {next: "n", previous: "p", "zoom-in": "+", "zoom-out": "-", "zoom-reset": "0"}

function turn(by) {
  const place = Math.max(0, shown.indexOf(current)), first = place - place % ROWS + by * ROWS
  if (shown[first] !== undefined) go(shown[first])
}

function start() {
  filled(element.sort, [...measures.map(one => [one.name, one.words]), [NONE, "the order of this page"]])
  filled(element.joint, [["", "any"], ...gallery.joints.map((name, joint) => [joint, words(name)])])
  for (const id of ["sort", "joint", "ascending"]) element[id].addEventListener("input", resort)
  for (const id of ["regions", "labels"]) element[id].addEventListener("input", () => { remember(); render() })
  element.filters.addEventListener("submit", event => event.preventDefault())
  listen(CLICKED, DONE, "select")
  recall()
}

start()
