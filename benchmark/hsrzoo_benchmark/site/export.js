"use strict";
// Every table of the page as CSV and as LaTeX (booktabs, the best bold, the second underlined), as it is shown.
const withIntervals = () => document.getElementById("with-intervals").checked;

function gridOf(table) {
  const textOf = (cell) => {
    const main = cell.querySelector("a, button") || cell;
    return [...main.childNodes].filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent).join("").trim();
  };
  const intervalOf = (cell) => (cell.querySelector("small.interval") || { textContent: "" }).textContent;
  const heads = [...table.tHead.rows[0].cells].map(textOf);
  const rows = [...table.tBodies[0].rows].map((row) => ({
    paper: row.classList.contains("paper"),
    cells: [...row.cells].map((cell) => ({ text: textOf(cell).replace(/ #\d+$/, ""), interval: intervalOf(cell) })),
  }));
  return { heads, rows };
}

function csvOf({ heads, rows }) {
  const quote = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const lines = rows.map((row) => row.cells.flatMap(({ text, interval }, i) => [text, ...(hasInterval(rows, i) ? ends(interval) : [])]));
  const head = heads.flatMap((text, i) => [text, ...(hasInterval(rows, i) ? [`${text} low`, `${text} high`] : [])]);
  return [head, ...lines].map((line) => line.map(quote).join(",")).join("\n") + "\n";
}

const hasInterval = (rows, i) => withIntervals() && rows.some((row) => row.cells[i] && row.cells[i].interval.includes(" to "));
const ends = (interval) => (interval.includes(" to ") ? interval.split(" to ") : ["", ""]);

function escaped(text) {
  const marks = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$",
    "↓": "$\\downarrow$", "↑": "$\\uparrow$", "°": "$^\\circ$" };
  return text.replace(/[\\~^<>↓↑°]|[&%$#_{}]/g, (mark) => marks[mark] || `\\${mark}`);
}

// The two best values of each column, by the arrow in its heading.
function leaders({ heads, rows }) {
  return heads.map((head, i) => {
    const sign = head.includes("↓") ? 1 : head.includes("↑") ? -1 : 0;
    const values = rows.filter((row) => !row.paper).map((row) => Number(row.cells[i] && row.cells[i].text));
    const found = [...new Set(values.filter(Number.isFinite))].sort((a, b) => sign * (a - b));
    return sign ? found.slice(0, 2) : [];
  });
}

function latexOf(grid, caption) {
  const best = leaders(grid);
  const cell = ({ text, interval }, i, paper) => {
    const place = paper || text === "" ? -1 : best[i].indexOf(Number(text));
    const value = escaped(text);
    const marked = place === 0 ? `\\textbf{${value}}` : place === 1 ? `\\underline{${value}}` : value;
    return marked + (withIntervals() && interval.includes(" to ") ? ` {\\scriptsize (${interval.replace(" to ", "--")})}` : "");
  };
  const lines = grid.rows.map((row) => row.cells.map((one, i) => cell(one, i, row.paper)).join(" & ") + " \\\\");
  return [
    "% needs \\usepackage{booktabs}", "\\begin{table}", "\\centering", `\\caption{${escaped(caption)}}`,
    `\\begin{tabular}{l${"r".repeat(grid.heads.length - 1)}}`, "\\toprule", grid.heads.map(escaped).join(" & ") + " \\\\",
    "\\midrule", ...lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", "",
  ].join("\n");
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const table of document.querySelectorAll("table[data-name]")) {
  const bar = document.createElement("p");
  bar.className = "export";
  const caption = () => (table.id === "board" ? document.getElementById("summary").textContent.replace(/: [^:]*$/, "") : table.dataset.name);
  for (const [kind, make] of [["csv", csvOf], ["tex", (grid) => latexOf(grid, caption())]]) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = kind === "csv" ? "CSV" : "LaTeX";
    button.title = `Save this table, ${table.dataset.name}, as ${button.textContent}`;
    button.addEventListener("click", () => save(`${table.dataset.name}.${kind}`, make(gridOf(table))));
    bar.append(button);
  }
  if (table.id === "board") {
    const label = document.createElement("label");
    const box = Object.assign(document.createElement("input"), { type: "checkbox", id: "with-intervals", checked: true });
    label.append(box, " with intervals");
    bar.append(label);
  }
  table.parentElement.before(bar);
}
