// What the page does more where scripts run: tables are sorted, filtered and lose columns, a link
// opens the fold that it leads into, and a print shows what is folded. No text becomes markup.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[table.tBodies.length - 1];
  const rows = [...body.rows];

  const made = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    element.append(text);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  const order = (row, place) => {
    const cell = row.cells[place];
    if (place === 0) return cell.textContent;
    return "order" in cell.dataset ? Number(cell.dataset.order) : null;
  };

  const sort = (place, down) => {
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
    const button = made("button", "", { type: "button" });
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      sort(place, head.getAttribute("aria-sort") === "ascending");
    });
    head.append(button);
  });

  const filter = made("input", "", { type: "search", placeholder: "method or verdict" });
  const label = made("label", "Filter ");
  label.append(filter);
  const count = made("output", "");
  filter.addEventListener("input", () => {
    const wanted = filter.value.trim().toLowerCase();
    for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    count.textContent = wanted ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
  });

  const columns = made("details", "");
  columns.append(made("summary", "Columns"));
  heads.slice(1).forEach((head, number) => {
    const box = made("input", "", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => {
      for (const row of table.rows) row.cells[number + 1].hidden = !box.checked;
    });
    const choice = made("label", "");
    choice.append(box, ` ${head.querySelector("button").firstChild.textContent}`);
    columns.append(choice);
  });

  const tools = made("div", "", { class: "tools on-screen" });
  tools.append(label, count, columns);
  table.closest(".scroll").before(tools);
}

const open = (id) => {
  for (let at = id && document.getElementById(id); at; at = at.parentElement) {
    if (at.tagName === "DETAILS") at.open = true;
  }
};
const reveal = () => {
  const id = decodeURIComponent(location.hash.slice(1));
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
