"use strict";
// Text goes into the page as text alone: no value of a row is ever read as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const boards = new Map(data.boards.map((board) => [board.id, board]));
const selectors = { place: byId("place"), protocol: byId("protocol"), condition: byId("condition") };
let board = data.boards[0];
let sorting = null; // {key, ascending}; null: the board's own
let chosen = null; // {entry, metric} that the address names

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const address = (values) => "#" + new URLSearchParams(values).toString();
const protocolOf = (one) => (one.hash ? `${one.protocol}, hash ${one.hash}` : one.protocol);
const withoutHash = (one) => one.protocol;

// Selectors -------------------------------------------------------------------------------------------

function options(select, texts, value) {
  select.replaceChildren(...texts.map((text) => make("option", { value: text, selected: text === value }, text)));
  select.value = value;
  select.disabled = texts.length < 2;
}

const unique = (values) => [...new Set(values)];

function fillSelectors() {
  const here = data.boards.filter((one) => one.place === board.place);
  const alike = here.filter((one) => withoutHash(one) === withoutHash(board));
  options(selectors.place, unique(data.boards.map((one) => one.place)), board.place);
  options(selectors.protocol, unique(here.map(withoutHash)), withoutHash(board));
  const same = alike.map((one) => labelOf(one, alike));
  options(selectors.condition, same, labelOf(board, alike));
}

// Two boards of one condition differ in their protocols' hashes.
function labelOf(one, alike) {
  const twins = alike.filter((other) => other.condition === one.condition);
  return twins.length > 1 ? `${one.condition} (${one.hash})` : one.condition;
}

function choose(changed) {
  let found = data.boards.filter((one) => one.place === selectors.place.value);
  const condition = selectors.condition.value;
  if (changed !== "place") {
    found = found.filter((one) => withoutHash(one) === selectors.protocol.value);
  }
  const wanted = found.find((one) => labelOf(one, found) === condition);
  location.hash = address({ board: (wanted || found[0]).id });
}

for (const [name, select] of Object.entries(selectors)) select.addEventListener("change", () => choose(name));
byId("filter").addEventListener("input", drawBoard);
for (const id of ["all-models", "all-columns"]) byId(id).addEventListener("change", drawBoard);

const asked = (id) => chosen !== null && chosen.entry === id;
const columns = () => board.columns.filter((one) => !one.more || byId("all-columns").checked || (chosen && chosen.metric === one.key));

// The table -------------------------------------------------------------------------------------------

function sorted() {
  const { key, ascending } = sorting || { key: board.sort, ascending: better(board.sort) !== "higher" };
  const sign = ascending ? 1 : -1;
  const value = (id) => {
    const entry = data.entries[id];
    if (key === "model") return entry.model;
    return key === "n" ? entry.n : (entry.cells[key] || {}).value;
  };
  return [...board.entries].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    const gone = [left, right].map((one) => one === null || one === undefined);
    if (gone[0] || gone[1]) return gone[0] - gone[1]; // what was not measured comes last
    if (key === "model") return sign * (left < right ? -1 : left > right ? 1 : 0);
    return sign * (left - right);
  });
}

function better(key) {
  return (board.columns.find((column) => column.key === key) || {}).better;
}

function heading(key, text) {
  const now = sorting || { key: board.sort, ascending: better(board.sort) !== "higher" };
  const state = now.key === key ? (now.ascending ? "ascending" : "descending") : "none";
  const button = make("button", { type: "button" }, text);
  button.addEventListener("click", () => {
    sorting = { key, ascending: now.key === key ? !now.ascending : better(key) !== "higher" };
    drawBoard();
    byId("board").querySelector(`th[data-key="${CSS.escape(key)}"] button`).focus();
  });
  return make("th", { scope: "col", "aria-sort": state, "data-key": key }, button);
}

function cellOf(id, column) {
  const cell = data.entries[id].cells[column.key];
  if (!cell) return make("td", {}, "n/a");
  const wins = cell.wins ? `wins ${cell.wins}` : null;
  const rank = cell.rank ? ` ${cell.rank_text}` : "";
  const kind = [cell.rank === 1 ? "lead" : "", asked(id) && chosen.metric === column.key ? "asked" : ""].join(" ").trim();
  const link = make("a", { href: address({ entry: id, metric: column.key }) }, cell.text + rank);
  const few = cell.rank ? null : cell.rank_text;
  const spread = cell.spread ? `seeds ${cell.spread}` : null;
  const lines = [wins, few, spread].filter(Boolean).map((text) => make("small", {}, text));
  if (cell.interval) lines.unshift(make("small", { class: "interval" }, cell.interval));
  return make("td", { class: kind || null, "data-key": column.key }, link, ...lines);
}

function rowsOf(id) {
  const entry = data.entries[id];
  const link = make("a", { href: address({ entry: id }) }, entry.model);
  const marks = entry.marks.map((mark) => make("small", {}, mark));
  const cells = columns().map((column) => cellOf(id, column));
  const lead = cells.some((cell) => cell.classList.contains("lead"));
  const row = make("tr", { class: [lead ? "lead" : "", asked(id) ? "chosen" : ""].join(" ").trim() || null,
    "data-entry": id }, make("th", { scope: "row" }, link, ...marks), make("td", {}, String(entry.n)), ...cells);
  if (!Object.keys(entry.paper).length) return [row];
  const paperCells = columns().map(({ key }) => {
    const one = entry.paper[key];
    return make("td", one ? { title: one.note } : {}, one ? one.text : "");
  });
  const notes = unique(Object.values(entry.paper).map((one) => one.note));
  const label = make("th", { scope: "row" }, `${entry.model}: reported by the paper`);
  label.append(...notes.map((note) => make("small", {}, note)));
  return [row, make("tr", { class: "paper" }, label, make("td"), ...paperCells)];
}

function drawBoard() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const all = byId("all-models").checked;
  const ids = sorted().filter((id) => asked(id)
    || (data.entries[id].model.toLowerCase().includes(wanted) && (all || !data.entries[id].more)));
  const more = board.entries.filter((id) => data.entries[id].more).length;
  byId("all-models-text").textContent = `Ablations, controls, variants (${more})`;
  byId("all-models").parentElement.hidden = more === 0;
  byId("all-columns").parentElement.hidden = !board.columns.some((one) => one.more);
  const count = board.kind === "speed" ? "runs" : "n";
  const heads = [heading("model", "model"), heading("n", count)];
  heads.push(...columns().map((column) => heading(column.key, column.heading)));
  byId("board").className = board.kind;
  byId("board").replaceChildren(
    make("thead", {}, make("tr", {}, ...heads)),
    make("tbody", {}, ...ids.flatMap(rowsOf)),
  );
  const hidden = board.entries.length - ids.length;
  const scenes = board.scenes === undefined ? "" : `, n = ${board.scenes} scene${board.scenes === 1 ? "" : "s"}`;
  const rest = hidden ? ` (${hidden} not shown)` : "";
  byId("summary").textContent =
    `${board.place}, ${protocolOf(board)}, ${board.condition}${scenes}: ${ids.length} models${rest}.`;
  byId("notes").replaceChildren(...board.notes.map((note) => make("p", {}, note)));
  for (const plot of document.querySelectorAll(".plot")) {
    plot.hidden = board.kind === "scores" && plot.dataset.place !== board.place;
  }
}

// Where a number comes from ---------------------------------------------------------------------------

function text(value) {
  if (value === null || value === undefined) return "";
  return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(8))) : String(value);
}

function drawProvenance() {
  const panel = byId("provenance");
  panel.hidden = chosen === null;
  if (chosen === null) return;
  const entry = data.entries[chosen.entry];
  const column = board.columns.find((one) => one.key === chosen.metric);
  const cell = column && entry.cells[column.key];
  byId("provenance-heading").textContent = cell ? `${entry.model}: ${column.heading} ${cell.text}` : entry.model;
  const interval = cell && cell.interval ? `, 95 % interval ${cell.interval}` : "";
  const what = board.kind === "speed" ? "" : cell ? `Mean of n = ${entry.n}${interval}. ` : "";
  byId("provenance-where").textContent =
    `${what}${board.place}, ${protocolOf(board)}, ${board.condition}. ${entry.marks.join("; ")}`;
  byId("facts").replaceChildren(...entry.facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  const { columns, rows } = entry.scenes;
  const shade = (name) => (name === chosen.metric ? { class: "asked" } : {});
  byId("scenes").replaceChildren(
    make("thead", {}, make("tr", {}, ...columns.map((name) => make("th", { scope: "col", ...shade(name) }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((value, i) =>
      make(i ? "td" : "th", i ? shade(columns[i]) : { scope: "row" }, text(value)))))),
  );
  byId("protocols").replaceChildren(...entry.protocols.map((hash) =>
    make("details", {}, make("summary", {}, `Protocol ${hash}`),
      make("pre", { tabindex: "0" }, JSON.stringify(data.protocols[hash], null, 1)))));
  byId("back").href = address({ board: board.id });
}

function follow() {
  const values = new URLSearchParams(location.hash.slice(1));
  const entry = values.get("entry");
  const known = entry !== null && Object.hasOwn(data.entries, entry);
  const id = known ? data.entries[entry].board : values.get("board");
  const next = boards.get(id) || (known ? board : boards.get(board.id));
  if (next !== board) sorting = null;
  board = next;
  chosen = known ? { entry, metric: values.get("metric") } : null;
  fillSelectors();
  drawBoard();
  drawProvenance();
  if (known) byId("provenance-heading").focus();
}

window.addEventListener("hashchange", follow);
follow();
