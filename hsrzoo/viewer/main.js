// The state of the page, and what each control does to it.

const MOST_PINS = 12;
const $ = (id) => document.getElementById(id);

const state = {
  colour: true, // colour rendering, else one band
  band: 0,
  map: 0, // which error map
  dim: false, // unfamiliar pixels are dimmed
  moving: false, // dragging moves the image instead of selecting
  rect: null, // what is selected, in page pixels, both ends included
  anchor: { x: 0, y: 0 }, // where the selection began
  cursor: { x: 0, y: 0 }, // where it ends
  pins: [], // { rect, style, series }
};
let cubes = [];
let maps = [];
let unfamiliar = null; // of one plane: the percentile of each pixel
let panels = [];
let current = []; // series of the selection
let nearestBand = () => 0;
let waiting = false;
let plotIsOld = true;

function allSeries() {
  return [...current, ...state.pins.flatMap((pin) => pin.series)];
}

function place({ x0, y0, x1, y1 }) {
  const [a, b, c, d] = [x0, x1, y0, y1].map((v) => v * facts.stride);
  return `x ${a === b ? a : `${a} to ${b}`}, y ${c === d ? c : `${c} to ${d}`}`;
}

// One series per cube; of two cubes, the second is dashed.
function seriesOf(rect, style, label) {
  const region = rect.x0 !== rect.x1 || rect.y0 !== rect.y1;
  return cubes.map((cube, index) => ({
    ...cube.over(rect),
    region,
    interval: region ? null : cube.ends(rect.x0, rect.y0),
    intervalName: cube.interval ? cube.interval.name : "",
    colour: style.colour,
    shape: style.shape,
    dash: cubes.length > 1 ? ["", "6 4"][index] : style.dash,
    second: index === 1,
    label: label + place(rect),
    name: label + place(rect) + (cubes.length > 1 ? `, ${facts.cubes[index].label}` : ""),
  }));
}

function select(rect, cursor) {
  state.rect = rect;
  state.cursor = cursor;
  if (rect.x0 === rect.x1 && rect.y0 === rect.y1) state.anchor = cursor;
  current = seriesOf(rect, { colour: "currentColor", shape: "dot", dash: "" }, "");
  refresh(true);
}

function clear() {
  state.rect = null;
  state.pins = [];
  current = [];
  say("Cleared.");
  refresh(true, false);
}

function pin() {
  if (!state.rect) return say("Nothing is selected.");
  const label = place(state.rect);
  if (state.pins.some((p) => place(p.rect) === label)) return say(`${label} is pinned already.`);
  if (state.pins.length === MOST_PINS) return say(`${MOST_PINS} spectra are pinned; remove one first.`);
  const used = new Set(state.pins.map((p) => p.index));
  let index = 0;
  while (used.has(index)) index++;
  const style = styleOf(index);
  state.pins.push({ index, rect: state.rect, style, series: seriesOf(state.rect, style, `${index + 1}: `) });
  say(`Pinned ${label}.`);
  refresh(true, false);
}

function unpin(index) {
  state.pins = state.pins.filter((p) => p.index !== index);
  $("clear").focus();
  refresh(true);
}

function setBand(band) {
  state.band = Math.max(0, Math.min(facts.bands - 1, band));
  state.colour = false;
  $("mode-band").checked = true;
  refresh(true);
}

const act = {
  select,
  selection: () => ({ rect: state.rect, cursor: state.cursor }),
  restore: (before) => (before.rect ? select(before.rect, before.cursor) : clear()),
  moving: () => state.moving,
  refresh: () => refresh(),
  step(dx, dy, extend) {
    const cursor = clampPixel({ x: state.cursor.x + dx, y: state.cursor.y + dy });
    reveal(cursor);
    select(rectOf(extend && state.rect ? state.anchor : cursor, cursor), cursor);
  },
  bandUp: () => setBand(state.band + 1),
  bandDown: () => setBand(state.band - 1),
  pin,
  clear,
  zoomIn: () => zoom(1.5),
  zoomOut: () => zoom(1 / 1.5),
  fit: () => zoom(0),
};

function zoom(factor) {
  const { x, y } = state.rect ? { x: state.cursor.x + 0.5, y: state.cursor.y + 0.5 } : view;
  zoomAt({ x, y }, factor);
  refresh();
}

function say(text) {
  $("status").textContent = text;
}

// Values at the selection in words: the shown band, and the errors.
function readout() {
  if (!state.rect) return "";
  const region = current[0].region;
  const values = current.map((s, i) => `${cubes.length > 1 ? "AB"[i] + " " : ""}${plain(s.mean[state.band])}`);
  const parts = [`${place(state.rect)}: ${bandName(state.band)} ${region ? "mean " : ""}${values.join(", ")}`];
  for (const map of maps) parts.push(`${map.name} ${region ? "mean " : ""}${plain(map.over(state.rect).mean[0])}${map.sign}`);
  if (unfamiliar && !region) parts.push(familiarity(unfamiliar.at(0, state.cursor.x, state.cursor.y)));
  return parts.join("; ");
}

function familiarity(percentile) {
  const words = percentile > facts.unlike ? "unlike the training data" : "like the training data";
  return `colour ${words} (percentile ${short(100 * percentile)})`;
}

// Of the shown band, for both cubes; within 0 to 1 where other values are marked.
function greyRange() {
  const range = cubes[0].range(state.band, 0.005, 0.995);
  if (!range || !cubes[0].marked) return range;
  const low = Math.max(0, range.low), high = Math.min(1, range.high);
  return low < high ? { low, high } : range;
}

function paintPanels() {
  for (const panel of panels) {
    const { kind, index } = panel.figure.dataset;
    panel.figure.classList.toggle("picture", kind === "photo" || (kind === "cube" && state.colour));
    if (kind === "photo") panel.showPicture(panel.picture);
    if (kind === "error") {
      const map = maps[state.map];
      const range = map.range(0, 0, 0.995);
      panel.showPlane(map, 0, range && { low: 0, high: range.high }, ERROR_RAMP);
    }
    if (kind !== "cube") continue;
    if (state.colour) panel.showPicture(panel.picture);
    else panel.showPlane(cubes[index], state.band, greyRange(), GREY_RAMP);
  }
}

// A picture that covers unfamiliar pixels with grey, made once.
function veil() {
  if (veil.made) return veil.made;
  veil.made = document.createElement("canvas");
  [veil.made.width, veil.made.height] = [WIDTH, HEIGHT];
  const context = veil.made.getContext("2d");
  const image = context.createImageData(WIDTH, HEIGHT);
  for (let i = 0; i < SIZE; i++) {
    if (unfamiliar.real(unfamiliar.integers[i]) > facts.unlike) image.data.set(DIMMED, 4 * i);
  }
  context.putImageData(image, 0, 0);
  return veil.made;
}

function drawImages() {
  const marks = state.pins.map((p) => ({ rect: p.rect, colour: p.style.colour, label: String(p.index + 1) }));
  if (state.rect) marks.push({ rect: state.rect, colour: null, label: "" });
  for (const panel of panels) panel.draw(marks, state.dim ? veil() : null);
}

function fillLegend() {
  const items = [];
  if (state.rect) items.push(legendItem(current, null));
  for (const p of state.pins) items.push(legendItem(p.series, p.index));
  $("legend").replaceChildren(...items);
}

function legendItem(series, index) {
  const item = document.createElement("li");
  item.append(...series.map(swatch), series[0].label);
  if (index === null) return item;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "×";
  button.setAttribute("aria-label", `Remove ${series[0].label}`);
  button.addEventListener("click", () => unpin(index));
  item.append(button);
  return item;
}

function drawControls() {
  const text = `${facts.wavelengths ? `band ${state.band + 1}` : "band"} of ${facts.bands}`;
  $("band").value = state.band;
  $("band-name").textContent = facts.wavelengths ? `${bandName(state.band)} (${text})` : `${state.band + 1} of ${facts.bands}`;
  $("band").setAttribute("aria-valuetext", `${bandName(state.band)}, ${text}`);
  $("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
}

function drawAll() {
  waiting = false;
  paintPanels();
  drawImages();
  drawControls();
  if (!plotIsOld) return;
  plotIsOld = false;
  const series = allSeries();
  nearestBand = drawPlot($("plot"), series, state.band);
  fillLegend();
  if ($("values").open) fillTable($("table"), series);
  for (const id of ["pin", "clear", "copy", "download"]) $(id).disabled = !series.length;
}

// `values`: the plotted values have changed; `announce`: and are read out.
function refresh(values = false, announce = values) {
  plotIsOld ||= values;
  if (announce) say(readout());
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(drawAll);
}

function connect() {
  for (const panel of panels) listen(panel, act);
  for (const radio of document.querySelectorAll("input[type=radio]")) {
    radio.addEventListener("change", () => {
      if (radio.name === "mode") state.colour = radio.value === "colour";
      if (radio.name === "drag") state.moving = radio.value === "move";
      if (radio.name === "map") state.map = Number(radio.value);
      refresh();
    });
  }
  if (unfamiliar) {
    $("dim").addEventListener("change", () => {
      state.dim = $("dim").checked;
      $("dimmed").hidden = !state.dim;
      refresh();
    });
  }
  $("band").addEventListener("input", () => setBand(Number($("band").value)));
  $("zoom-in").addEventListener("click", act.zoomIn);
  $("zoom-out").addEventListener("click", act.zoomOut);
  $("fit").addEventListener("click", act.fit);
  $("pin").addEventListener("click", pin);
  $("clear").addEventListener("click", clear);
  $("copy").addEventListener("click", () =>
    copyText(csv(allSeries())).then(() => say("Copied as CSV."), (error) => say(`Not copied: ${error.message}.`)));
  $("download").addEventListener("click", () => download(facts.csv, csv(allSeries())));
  $("values").addEventListener("toggle", () => refresh(true, false));
  $("plot").addEventListener("click", (event) =>
    setBand(nearestBand(event.clientX - $("plot").getBoundingClientRect().left)));
  new ResizeObserver(() => refresh(true, false)).observe(document.querySelector("main"));
}

async function start() {
  const figures = [...document.querySelectorAll("figure")];
  [cubes, maps, [unfamiliar = null], panels] = await Promise.all([
    Promise.all(facts.cubes.map((about) => Planes.load(about, facts.bands))),
    Promise.all(facts.maps.map(async (about) => Object.assign(await Planes.load(about, 1), { sign: about.sign }))),
    Promise.all(facts.unfamiliar.map((about) => Planes.load(about, 1))),
    Promise.all(figures.map(async (figure) => {
      const panel = new Panel(figure);
      if (figure.dataset.picture) panel.picture = await picture(figure.dataset.picture);
      return panel;
    })),
  ]);
  document.documentElement.style.setProperty("--shape", Math.max(0.5, Math.min(2, WIDTH / HEIGHT)));
  state.band = facts.first_band;
  connect();
  const middle = { x: WIDTH >> 1, y: HEIGHT >> 1 };
  select(rectOf(middle, middle), middle);
  requestAnimationFrame(() => {
    document.body.classList.remove("loading");
    document.documentElement.dataset.readyMs = performance.now().toFixed(0);
  });
}

start().catch((error) => {
  say(`This page cannot be shown here: ${error.message}. It needs a browser of 2023 or newer.`);
  throw error;
});
