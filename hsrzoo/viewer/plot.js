// The plot of spectra: SVG, drawn again at every change.

const MARGIN = { left: 58, right: 14, top: 30, bottom: 42 };
const SVG_NS = "http://www.w3.org/2000/svg";

function svg(name, attributes, parent, text) {
  const element = document.createElementNS(SVG_NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

// About `count` round numbers between low and high.
function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((m) => m * power >= rough * 0.999) * power;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i++) {
    found.push(Number((i * step).toPrecision(12)));
  }
  return found;
}

const POSITIONS = facts.wavelengths || Array.from({ length: facts.bands }, (_, i) => i + 1);

function scales(series, width, height) {
  const ends = (s) => (s.interval ? [...s.interval.low, ...s.interval.high] : []);
  const finite = series.flatMap((s) => [...s.low, ...s.high, ...ends(s)]).filter(Number.isFinite);
  let low = finite.reduce((a, b) => Math.min(a, b), Infinity);
  let high = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!finite.length) [low, high] = [0, 1];
  [low, high] = [Math.min(0, low), Math.max(0, high)]; // heights then compare as the values do
  const room = (high - low || 1) * 0.04;
  const bottom = low < 0 ? low - room : 0;
  const top = high > 0 || low === 0 ? high + room : 0;
  const across = [Math.min(...POSITIONS), Math.max(...POSITIONS)];
  if (across[0] === across[1]) across[0] -= 1, across[1] += 1;
  const inner = { x: width - MARGIN.left - MARGIN.right, y: height - MARGIN.top - MARGIN.bottom };
  const x = (v) => MARGIN.left + ((v - across[0]) / (across[1] - across[0])) * inner.x;
  return {
    up: ticks(bottom, top, Math.max(2, Math.floor(height / 60))),
    across: ticks(...across, Math.max(2, Math.floor(width / 90))),
    x,
    y: (v) => MARGIN.top + (1 - (v - bottom) / (top - bottom)) * inner.y,
    nearest: (px) => {
      const away = POSITIONS.map((v) => Math.abs(x(v) - px));
      return away.indexOf(Math.min(...away));
    },
  };
}

// Runs of bands with data: a gap or the end of a detector breaks the line.
function pieces(values) {
  const found = [];
  for (const run of facts.runs) {
    let piece = [];
    for (const band of run) {
      if (Number.isFinite(values[band])) {
        piece.push(band);
      } else if (piece.length) {
        found.push(piece);
        piece = [];
      }
    }
    if (piece.length) found.push(piece);
  }
  return found;
}

function drawAxes(root, at, width, height) {
  const base = height - MARGIN.bottom;
  for (const value of at.up) {
    const y = at.y(value);
    svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y, class: "grid" }, root);
    svg("text", { x: MARGIN.left - 7, y: y + 4, class: "tick-y" }, root, plain(value));
  }
  for (const value of at.across) {
    const x = at.x(value);
    svg("line", { x1: x, x2: x, y1: base, y2: base + 5, class: "axis" }, root);
    svg("text", { x, y: base + 18, class: "tick-x" }, root, plain(value));
  }
  svg("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: base, y2: base, class: "axis" }, root);
  svg("text", { x: (MARGIN.left + width - MARGIN.right) / 2, y: height - 6, class: "name-x" }, root, facts.axis);
  svg("text", { x: 8, y: 14, class: "name-y" }, root, facts.value_axis);
}

function drawSeries(root, series, at) {
  const group = svg("g", { class: "series", "data-name": series.name, stroke: series.colour }, root);
  const point = (values) => (band) => `${at.x(POSITIONS[band]).toFixed(2)},${at.y(values[band]).toFixed(2)}`;
  for (const piece of pieces(series.mean)) {
    const shaded = series.region ? series : series.interval;
    if (shaded) {
      const edge = [...piece.map(point(shaded.high)), ...piece.map(point(shaded.low)).reverse()];
      svg("polygon", { points: edge.join(" "), class: "range", fill: series.colour }, group);
    }
    svg("polyline", { points: piece.map(point(series.mean)).join(" "), "stroke-dasharray": series.dash }, group);
    // Not at every band, and those of two cubes between each other: the line must stay visible.
    const every = Math.ceil(piece.length / (series.shape === "dot" ? 32 : 16));
    const first = series.second ? Math.min(Math.floor(every / 2), piece.length - 1) : 0;
    piece.forEach((band, i) => {
      if (i % every !== first) return;
      const [x, y] = [at.x(POSITIONS[band]), at.y(series.mean[band])];
      svg("path", { d: shapePath(series.shape, x, y), class: "mark", fill: series.colour }, group);
    });
  }
}

function shapePath(shape, x, y) {
  const r = 3.4;
  if (shape === "circle" || shape === "dot") {
    const q = shape === "dot" ? 1.8 : r;
    return `M${x - q},${y}a${q},${q} 0 1 0 ${2 * q},0a${q},${q} 0 1 0 ${-2 * q},0z`;
  }
  if (shape === "square") return `M${x - 3},${y - 3}h6v6h-6z`;
  if (shape === "triangle") return `M${x},${y - 4}l4,7h-8z`;
  if (shape === "diamond") return `M${x},${y - 4.4}l4,4.4l-4,4.4l-4,-4.4z`;
  if (shape === "plus") return `M${x - 4},${y}h8M${x},${y - 4}v8`;
  return `M${x - r},${y - r}l${2 * r},${2 * r}M${x - r},${y + r}l${2 * r},${-2 * r}`;
}

// Draws all series; returns a function for the band nearest to a position across.
function drawPlot(root, series, band) {
  const { width, height } = root.getBoundingClientRect();
  const at = scales(series, width, height);
  root.replaceChildren();
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawAxes(root, at, width, height);
  const x = at.x(POSITIONS[band]);
  svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: height - MARGIN.bottom, class: "band" }, root);
  for (const one of series) drawSeries(root, one, at);
  if (!series.length) {
    svg("text", { x: width / 2, y: height / 2, class: "hint" }, root, "Click a pixel, or drag over a region");
  }
  return at.nearest;
}

// The sample of a line in the legend.
function swatch(series) {
  const root = svg("svg", { class: "swatch series", viewBox: "0 0 38 12", "aria-hidden": "true", stroke: series.colour });
  svg("polyline", { points: "1,6 37,6", "stroke-dasharray": series.dash }, root);
  svg("path", { d: shapePath(series.shape, 19, 6), class: "mark", fill: series.colour }, root);
  return root;
}
