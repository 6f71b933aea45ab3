// The labels of an audit, one at a time. `audit` is what the page was written with.
const audit = JSON.parse(document.getElementById("audit").textContent)
const HARMLESS = ["good", "jitter"]
const ACTIONS = {
  exchange: "exchange left and right", move: "move it to the proposed place", unlabel: "take the label away",
}
const DECIDED = {accept: "accepted", reject: "rejected", undecided: "undecided"}
const KEY = `probpose-audit-${audit.digest}`

const decisions = restored()  // by index of the label: {decision, action}
const chosen = new Map()  // actions that were chosen in place of those proposed, by index of the label
let shown = []  // indices of the labels that pass the filters, in their order
let current = -1  // index of the label on the stage; -1 for none
let view = {zoom: 1, x: 0, y: 0}  // of the picture; (x, y) is the centre in pixels of the image

// ---- what is decided

function restored() {
  const found = new Map()
  try {
    for (const [index, one] of JSON.parse(localStorage.getItem(KEY) || "[]"))
      if (audit.labels[index] && one.decision in {accept: 1, reject: 1} && one.action in ACTIONS) found.set(index, one)
  } catch { /* a browser that keeps nothing for files, or something that is not ours */ }
  return found
}

function keep() {
  try { localStorage.setItem(KEY, JSON.stringify([...decisions])) } catch { /* kept until the page is closed */ }
}

// Sides are exchanged in pairs: what is decided of one label holds for the other one.
function together(index) {
  const {person, joint} = audit.labels[index], partner = audit.partner[joint]
  const other = audit.labels.findIndex(one => one.person === person && one.joint === partner)
  const both = other >= 0 && [index, other].every(one => chosenAction(one) === "exchange")
  return both ? [index, other] : [index]
}

function decide(indices, decision) {
  for (const index of indices.flatMap(together)) {
    if (decision === "undecided") decisions.delete(index)
    else decisions.set(index, {decision, action: chosenAction(index)})
  }
  keep()
}

function chosenAction(index) {
  return chosen.get(index) ?? decisions.get(index)?.action ?? proposed(audit.labels[index])
}

// What is proposed; where that is to keep the label, what is done to one that is wrong all the same.
function proposed(label) {
  const action = audit.actions[label.action]
  if (action in ACTIONS) return action
  return likeliest(label) === "inversion" && audit.partner[label.joint] !== label.joint ? "exchange" : "unlabel"
}

function decisionOf(index) {
  return decisions.get(index)?.decision ?? "undecided"
}

function exported() {
  const rows = [...decisions].sort(([one], [other]) => one - other).map(([index, {decision, action}]) => {
    const label = audit.labels[index], person = audit.persons[label.person]
    return {
      image_id: person.image_id, annotation_id: person.annotation_id, joint: audit.joints[label.joint], decision,
      action, to: action === "move" ? label.corrected : null,
    }
  })
  return {format: "probpose decisions", version: 1, audit: audit.digest, name: audit.name, decisions: rows}
}

function download() {
  const file = new Blob([JSON.stringify(exported(), null, 1)], {type: "application/json"})
  const link = document.createElement("a")
  link.href = URL.createObjectURL(file)
  link.download = "decisions.json"
  link.click()
  setTimeout(() => URL.revokeObjectURL(link.href), 1000)
}

// ---- which labels are shown

function suspicion(label) {
  return 1 - HARMLESS.reduce((sum, kind) => sum + label.probability[audit.kinds.indexOf(kind)], 0)
}

function measure(label) {
  const kind = element.kind.value
  return kind === "" ? suspicion(label) : label.probability[audit.kinds.indexOf(kind)]
}

function passes(label, index) {
  const joint = element.joint.value, decided = element.decided.value
  return measure(label) >= Number(element.least.value) - 1e-9
    && (joint === "" || audit.joints[label.joint] === joint) && (decided === "" || decisionOf(index) === decided)
}

function filter() {
  const found = audit.labels.map((label, index) => [measure(label), index, label])
  shown = found.filter(([, index, label]) => passes(label, index)).sort((a, b) => b[0] - a[0] || a[1] - b[1])
    .map(([, index]) => index)
  element["least-shown"].textContent = Number(element.least.value).toFixed(2)
}

function go(index) {
  if (index !== current && index >= 0) view = whole(audit.labels[index])
  current = index
  render()
}

// The label that is shown after the current one is decided: it may leave the list.
function after() {
  const place = shown.indexOf(current), next = shown[place + 1] ?? shown[place - 1] ?? -1
  filter()
  go(shown.includes(next) ? next : shown[0] ?? -1)
}

function step(by) {
  const place = shown.indexOf(current) + by
  if (place >= 0 && place < shown.length) go(shown[place])
}

// ---- what is drawn

const MARKS = {  // shape, colour, half-width in pixels of the screen, words
  label: ["cross", "#ff7d3b", 8, "label"],
  predicted: ["plus", "#49b9ff", 6, "prediction: 50% and 90% of good labels lie in its regions"],
  mirror: ["square", "#ffd84a", 6, "prediction of the other side"],
  corrected: ["diamond", "#5ee08b", 7, "proposed place"],
  others: ["dot", "#ffffff", 2.5, "other labels"],
  first: ["dot", "#ffffff", 2.5, ""],
  second: ["dot", "#ff8ad0", 2.5, ""],
}
const PAIRS = sidesOf(audit.joints, audit.partner), SIDES = PAIRS.side
MARKS.first[3] = `other labels, ${PAIRS.first}`
MARKS.second[3] = `other labels, ${PAIRS.second}`

function drawPicture(label) {
  const person = audit.persons[label.person], stage = element.picture, [x, y, width, height] = person.view
  const [w, h] = [width / view.zoom, height / view.zoom]
  stage.setAttribute("viewBox", `${view.x - w / 2} ${view.y - h / 2} ${w} ${h}`)
  stage.setAttribute("aria-label", described(label))
  if (person.picture) svg("image", {href: person.picture, x, y, width, height, preserveAspectRatio: "none"}, stage)
  else drawFault(stage, person.fault, view, w, h)
  const unit = unitOf({width: w, height: h})
  drawPerson(stage, label, person, unit)
  for (const radius of audit.radii)
    mark(stage, ellipse(label.predicted, label.covariance, radius), MARKS.predicted[1], {width: 1.5})
  if (moves(label)) mark(stage, `M${label.label}L${label.corrected}`, MARKS.corrected[1], {width: 1.5, dash: "4 5"})
  for (const name of drawn(label)) {
    const [shape, colour, size] = MARKS[name]
    mark(stage, SHAPES[shape](...label[name], size * unit), colour, {width: 2.5})
  }
}

function drawPerson(stage, label, person, unit) {
  const places = new Map(person.labels.map(([joint, x, y]) => [joint, [x, y]]))
  for (const [one, other] of audit.edges) {
    const colour = MARKS[SIDES[one] === SIDES[other] ? SIDES[one] : "others"][1]
    if (places.has(one) && places.has(other))
      mark(stage, `M${places.get(one)}L${places.get(other)}`, colour, {width: 1.2, kind: "faint", halo: false})
  }
  for (const [joint, place] of places) {
    const [shape, colour, size] = MARKS[SIDES[joint]]
    if (joint !== label.joint) mark(stage, SHAPES[shape](...place, size * unit), colour, {width: 1.5, kind: "faint"})
  }
}

function moves(label) {
  return chosenAction(audit.labels.indexOf(label)) !== "unlabel"
}

function drawn(label) {
  return ["mirror", "predicted", "corrected", "label"].filter(
    name => name === "mirror" ? label.mirror : name === "corrected" ? moves(label) : true)
}

function whole(label) {
  const [x, y, width, height] = audit.persons[label.person].view
  return {zoom: 1, x: x + width / 2, y: y + height / 2}
}

function inside({label: [x, y], person}) {
  const [left, top, width, height] = audit.persons[person].view
  return x >= left && x <= left + width && y >= top && y <= top + height
}

function zoom(factor) {
  if (current < 0) return
  const label = audit.labels[current], wanted = Math.min(MOST_ZOOM, view.zoom * factor)
  if (wanted <= 1) view = whole(label)
  else if (view.zoom === 1) view = {zoom: wanted, x: label.label[0], y: label.label[1]}
  else view.zoom = wanted
  render()
}

// ---- what is written

function likeliest(label) {
  return audit.kinds[label.probability.indexOf(Math.max(...label.probability))]
}

function fileOf(label) {
  return audit.persons[label.person].file_name
}

function described(label) {
  return `${words(audit.joints[label.joint])} of annotation ${audit.persons[label.person].annotation_id} in `
    + `${fileOf(label)}: ${words(likeliest(label))} ${percent(Math.max(...label.probability))}`
}

function writeVerdict(label) {
  const person = audit.persons[label.person], most = likeliest(label)
  element.title.textContent = words(audit.joints[label.joint])
  const away = Math.hypot(label.label[0] - label.predicted[0], label.label[1] - label.predicted[1])
  const place = `${person.file_name}, image ${person.image_id}, annotation ${person.annotation_id}`
  const outside = inside(label) ? "" : ", outside the crop"
  element.place.textContent = `${place}; ${away.toFixed(1)} px from the prediction${outside}`
  element.bars.replaceChildren(...audit.kinds.flatMap((kind, k) => {
    const fill = make("div", {className: kind === most ? "fill most" : "fill"})
    fill.style.width = `${100 * label.probability[k]}%`
    return [make("dt", {}, words(kind)), make("dd", {className: "track"}, fill),
      make("dd", {className: "number"}, percent(label.probability[k]))]
  }))
  element.person.textContent = person.exchanged >= 0.01
    ? `All sides of this person are exchanged with probability ${percent(person.exchanged)}.` : ""
  element.action.value = chosenAction(current)
  element.action.options[0].disabled = audit.partner[label.joint] === label.joint
  for (const [id, decision] of [["accept", "accept"], ["reject", "reject"], ["undecide", "undecided"]])
    element[id].setAttribute("aria-pressed", String(decisionOf(current) === decision))
  element.caption.textContent = described(label)
}

function writeLegend(label) {
  const labelled = new Set(audit.persons[label.person].labels.map(([joint]) => SIDES[joint]))
  const others = ["first", "second", "others"].filter(side => labelled.has(side))
  const names = ["label", "predicted", "mirror", "corrected"].filter(name => drawn(label).includes(name))
  element.legend.replaceChildren(...[...names, ...others].map(name => {
    const [shape, colour, size, text] = MARKS[name]
    const icon = svg("svg", {viewBox: "-11 -11 22 22", "aria-hidden": "true"})
    mark(icon, SHAPES[shape](0, 0, size), colour, {width: 2.5, kind: others.includes(name) ? "faint" : ""})
    return make("li", {}, icon, text)
  }))
}

function row(index) {
  const label = audit.labels[index], kind = element.kind.value || likeliest(label)
  const made = make("button", {type: "button"},
    make("span", {}, `${words(audit.joints[label.joint])}: ${words(kind)}`), make("span", {}, percent(measure(label))),
    make("span", {className: "file"}, fileOf(label)))
  made.dataset.index = index
  made.dataset.decision = decisionOf(index)
  made.setAttribute("aria-label", `${described(label)}, ${DECIDED[decisionOf(index)]}`)
  if (index === current) made.setAttribute("aria-current", "true")
  return make("li", {}, made)
}

function writeStatus() {
  const counts = {accept: 0, reject: 0}
  for (const {decision} of decisions.values()) counts[decision] += 1
  const number = shown.indexOf(current) + 1
  const place = shown.length ? `Label ${number} of ${shown.length}` : "No label passes these filters"
  element.status.textContent = `${place}; ${counts.accept} accepted, ${counts.reject} rejected.`
  element.export.textContent = `Export ${decisions.size} decisions`
}

function render() {
  element.bench.hidden = current < 0
  writeStatus()
  if (current < 0) return
  const label = audit.labels[current]
  element.picture.replaceChildren()
  drawPicture(label)
  writeVerdict(label)
  writeLegend(label)
  writeList(shown, current, row)
  const place = shown.indexOf(current)
  element.previous.disabled = place <= 0
  element.next.disabled = place >= shown.length - 1
  const follows = audit.labels[shown[place + 1]]
  if (follows && audit.persons[follows.person].picture) new Image().src = audit.persons[follows.person].picture
}

// ---- what is done

function judge(decision, all = false) {
  if (current < 0) return
  const person = audit.labels[current].person
  decide(all ? shown.filter(index => audit.labels[index].person === person) : [current], decision)
  if (decision === "undecided") { filter(); go(shown.includes(current) ? current : shown[0] ?? -1) } else after()
}

const DONE = {
  n: () => step(1), j: () => step(1), ArrowRight: () => step(1), p: () => step(-1), k: () => step(-1),
  ArrowLeft: () => step(-1), a: () => judge("accept"), r: () => judge("reject"), u: () => judge("undecided"),
  A: () => judge("accept", true), R: () => judge("reject", true), "+": () => zoom(ZOOM), "=": () => zoom(ZOOM),
  "-": () => zoom(1 / ZOOM), 0: () => zoom(0),
}

const CLICKED = {
  next: "n", previous: "p", accept: "a", reject: "r", undecide: "u", "accept-person": "A", "reject-person": "R",
  "zoom-in": "+", "zoom-out": "-", "zoom-reset": "0",
}

function drag(event) {
  if (!(event.buttons & 1) || view.zoom === 1) return
  const unit = unitOf(element.picture.viewBox.baseVal)
  view = {...view, x: view.x - event.movementX * unit, y: view.y - event.movementY * unit}
  render()
}

function start() {
  const kinds = audit.kinds.filter(kind => !HARMLESS.includes(kind))
  filled(element.kind, [["", "any"], ...kinds.map(kind => [kind, words(kind)])])
  const joints = audit.joints.filter((_, joint) => audit.labels.some(label => label.joint === joint))
  filled(element.joint, [["", "any"], ...joints.map(joint => [joint, words(joint)])])
  filled(element.action, Object.entries(ACTIONS))
  element.filters.addEventListener("input", () => { filter(); go(shown.includes(current) ? current : shown[0] ?? -1) })
  element.filters.addEventListener("submit", event => event.preventDefault())
  element.action.addEventListener("change", () => {
    chosen.set(current, element.action.value)
    if (decisions.has(current)) decide([current], decisionOf(current))
    render()
  })
  element.export.addEventListener("click", download)
  listen(CLICKED, DONE, "select, input")
  filter()
  go(shown[0] ?? -1)
}

function turn(by) {
  const place = Math.max(0, shown.indexOf(current)), first = place - place % ROWS + by * ROWS
  if (shown[first] !== undefined) go(shown[first])
}

start()
