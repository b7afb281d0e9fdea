// The plotted values as text: a table, and the same as CSV.

// [heading, values] of every column: a pixel has one, with an interval its ends, a region its mean, least
// and greatest.
function columns(series) {
  return series.flatMap((s) => {
    if (s.region) return [[`${s.name}, mean`, s.mean], [`${s.name}, minimum`, s.low], [`${s.name}, maximum`, s.high]];
    if (!s.interval) return [[s.name, s.mean]];
    const end = (which) => `${s.name}, ${s.intervalName}, ${which}`;
    return [[s.name, s.mean], [end("lower"), s.interval.low], [end("upper"), s.interval.high]];
  });
}

function cell(kind, text, parent, attributes = {}) {
  const element = document.createElement(kind);
  element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent.append(element);
}

function fillTable(table, series) {
  const found = columns(series);
  const head = document.createElement("thead");
  const titles = head.insertRow();
  cell("th", facts.axis, titles, { scope: "col" });
  for (const [heading] of found) cell("th", heading, titles, { scope: "col" });
  const body = document.createElement("tbody");
  POSITIONS.forEach((position, band) => {
    const row = body.insertRow();
    cell("th", plain(position), row, { scope: "row" });
    for (const [, values] of found) cell("td", plain(values[band]), row);
  });
  table.replaceChildren(head, body);
}

function quoted(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// One row per band; no data is an empty field.
function csv(series) {
  const found = columns(series);
  const lines = [[facts.axis, ...found.map(([heading]) => heading)].map(quoted).join(",")];
  POSITIONS.forEach((position, band) => {
    const numbers = [position, ...found.map(([, values]) => values[band])];
    lines.push(numbers.map((v) => (Number.isFinite(v) ? plain(v) : "")).join(","));
  });
  return lines.join("\n") + "\n";
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // No permission, or a page of http: the older way.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser does not allow copying");
  }
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
