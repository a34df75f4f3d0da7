// What the page does more where scripts run: tables are sorted, filtered and lose columns, a method
// shows its seeds and trials, figures are saved, a link opens the fold that it leads into, and a
// print shows what is folded. No text becomes markup.
"use strict";

const numbers = JSON.parse(document.getElementById("numbers").textContent);

// A number of a seed, with digits enough to tell it from the next.
const told = (value) => String(Number(value.toPrecision(4))).replace("-", "\u2212");

const withUnit = (value, unit) => `${told(value)} ${unit}`.trimEnd();

const gaps = (values, reference) =>
  values.map((value, seed) =>
    value === null || reference[seed] === null ? null : value - reference[seed],
  );

const made = (name, content, attributes = {}) => {
  const element = document.createElement(name);
  element.append(...content);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[table.tBodies.length - 1];
  const rows = [...body.rows];

  const order = (row, place) => {
    const cell = row.cells[place];
    if (place === 0) return cell.textContent;
    return "order" in cell.dataset ? Number(cell.dataset.order) : null;
  };

  const section = table.closest("section");
  const scenario = numbers.scenarios[Number(section.dataset.place)];
  const { methods, rows: found } = scenario;
  const retrained = methods.findIndex(([, role]) => role === "retrained");

  // Of the metrics that lead: gaps where there are gaps, else values.
  const seeds = (name) => {
    const place = methods.findIndex(([title]) => title === name);
    const lines = [];
    numbers.metrics.forEach((metric, number) => {
      const row = found[number][place];
      if (!metric.leads || !row) return;
      const values = row[2] ? gaps(row[0], found[number][retrained][0]) : row[0];
      const unit = row[2] ? metric.gapUnit : metric.unit;
      const said = values.flatMap((value, seed) =>
        value === null ? [] : [`seed ${numbers.seeds[seed]}: ${withUnit(value, unit)}`],
      );
      const title = row[2] ? `${metric.title}, gap to Retrained` : metric.title;
      lines.push(made("dt", [title]), made("dd", [said.join(" \u00b7 ")]));
    });
    if (!lines.length) lines.push(made("dd", ["No seed of it has a value."]));
    const [shown, of] = [numbers.seeds.length, numbers.of];
    if (shown < of) lines.push(made("dd", [`${shown} of ${of} seeds; summary.csv has all.`]));
    const trials = [...document.querySelectorAll("[data-trials]")].find(
      (each) => each.dataset.trials === name && each.dataset.of === scenario.name,
    );
    if (trials) {
      const link = made("a", ["settings that were tried"], { href: `#${trials.id}` });
      lines.push(made("dt", ["Tuning"]), made("dd", [link]));
    }
    return made("dl", lines);
  };

  // Tells the scenario's figure which method is looked at, "" for none.
  const tell = (name) => section.dispatchEvent(new CustomEvent("method", { detail: name }));

  const close = () => {
    tell("");
    for (const row of table.querySelectorAll(".detail")) row.remove();
    for (const button of table.querySelectorAll("[aria-expanded=true]")) {
      button.setAttribute("aria-expanded", "false");
    }
  };

  for (const row of table.tBodies.length > 1 ? [...table.tBodies[0].rows, ...rows] : rows) {
    const head = row.cells[0];
    const name = head.textContent;
    const button = made("button", head.childNodes, { type: "button", "aria-expanded": "false" });
    button.title = "its seeds";
    button.addEventListener("click", () => {
      const opens = button.getAttribute("aria-expanded") === "false";
      close();
      if (!opens) return;
      button.setAttribute("aria-expanded", "true");
      const cell = made("td", [seeds(name)], { colspan: heads.length });
      row.after(made("tr", [cell], { class: "detail" }));
      tell(name);
    });
    head.append(button);
  }

  const sort = (place, down) => {
    close();
    const compared = (one, other) => {
      const [a, b] = [order(one, place), order(other, place)];
      if (a === null || b === null) return (a === null) - (b === null);
      return (down ? -1 : 1) * (typeof a === "string" ? a.localeCompare(b) : a - b);
    };
    body.append(...[...rows].sort(compared));
    heads.forEach((head, other) => {
      if (other === place) head.setAttribute("aria-sort", down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  heads.forEach((head, place) => {
    const button = made("button", head.childNodes, { type: "button" });
    button.addEventListener("click", () => {
      sort(place, head.getAttribute("aria-sort") === "ascending");
    });
    head.append(button);
  });

  const filter = made("input", [], { type: "search", placeholder: "method or verdict" });
  const label = made("label", ["Filter ", filter]);
  const count = made("output", []);
  filter.addEventListener("input", () => {
    close();
    const wanted = filter.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    count.textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });

  const columns = made("details", [made("summary", ["Columns"])]);
  heads.slice(1).forEach((head, number) => {
    const box = made("input", [], { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => {
      close();
      for (const row of table.rows) row.cells[number + 1].hidden = !box.checked;
    });
    const title = head.querySelector("button").firstChild.textContent;
    columns.append(made("label", [box, ` ${title}`]));
  });

  const tools = made("div", [label, count, columns], { class: "tools on-screen" });
  table.closest(".scroll").before(tools);
}

// A figure as a document of its own, in the colours that the page has now.
const standing = (svg) => {
  const style = getComputedStyle(document.documentElement);
  const coloured = (text) =>
    text.replace(/var\((--[a-z]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  const copy = svg.cloneNode(true);
  const [, , width, height] = svg.getAttribute("viewBox").split(" ");
  const ground = document.createElementNS(svg.namespaceURI, "rect");
  for (const [key, value] of Object.entries({ width, height, fill: "var(--paper)" })) {
    ground.setAttribute(key, value);
  }
  copy.prepend(ground);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  for (const element of [copy, ...copy.querySelectorAll("*")]) {
    for (const attribute of element.attributes) attribute.value = coloured(attribute.value);
  }
  return { text: new XMLSerializer().serializeToString(copy), width, height };
};

const save = (blob, name) => {
  const link = made("a", [], { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};

const PIXELS = 4; // for each of the page, so that a print has 300 to the inch

for (const plot of document.querySelectorAll(":is(.plot, .panel):has(> svg)")) {
  // Drawn anew where a reader chooses other axes.
  const figure = () => plot.querySelector("svg");
  const name = () =>
    figure().getAttribute("aria-label").split(/[^A-Za-z0-9]+/).slice(0, 8).join("-");
  const asSvg = made("button", ["SVG"], { type: "button" });
  asSvg.addEventListener("click", () => {
    save(new Blob([standing(figure()).text], { type: "image/svg+xml" }), `${name()}.svg`);
  });
  const asPng = made("button", ["PNG"], { type: "button" });
  asPng.addEventListener("click", () => {
    const { text, width, height } = standing(figure());
    const image = new Image();
    image.addEventListener("load", () => {
      const canvas = made("canvas", [], { width: width * PIXELS, height: height * PIXELS });
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(blob, `${name()}.png`));
    });
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  });
  figure().after(made("div", ["Save as ", asSvg, " ", asPng], { class: "save on-screen" }));
}

const open = (id) => {
  for (let at = id && document.getElementById(id); at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
  }
};
const reveal = () => {
  let id = "";
  try {
    id = decodeURIComponent(location.hash.slice(1));
  } catch {} // an address that was cut leads nowhere
  open(id);
  if (id) document.getElementById(id)?.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details.printed:not([open])")];
  for (const fold of closed) fold.open = true;
});
addEventListener("afterprint", () => {
  for (const fold of closed) fold.open = false;
});
