// The figure whose axes a reader chooses: a point for each seed, means with their intervals. It
// stands in the place of a scenario's first figure, in the same size, words and colours.
"use strict";

const SIZE = { width: 345.6, letters: 9.6, right: 10, top: 17, bottom: 34, note: 13 };
const GOLDEN = 0.6180339887498949;
const DIFFERENT = 5; // times the smallest number that the largest is where sizes differ by much
const WIDE = 12; // margins from 0 to the furthest value where an axis still shows both
const EACH = "each"; // the axis that has a line for each method
const COLOURS = {
  original: "var(--original)",
  retrained: "var(--retrained)",
  method: "var(--method)",
};

const NAMESPACE = document.querySelector("svg")?.namespaceURI; // without a figure nothing is drawn

const shape = (name, attributes, ...content) => {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, typeof value === "number" ? Number(value.toFixed(2)) : value);
  }
  element.append(...content);
  return element;
};

const pen = document.createElement("canvas").getContext("2d");
const widthOf = (text) => {
  pen.font = `${SIZE.letters}px ${getComputedStyle(document.body).fontFamily}`;
  return pen.measureText(text).width;
};

// As much of a name as has room, with its beginning and its end.
const fitting = (text, room) => {
  const letters = [...text];
  let shown = text;
  for (let kept = letters.length - 1; kept > 3 && widthOf(shown) > room; kept -= 1) {
    const end = Math.floor(kept / 3);
    shown = `${letters.slice(0, kept - end).join("")}\u2026${letters.slice(-end).join("")}`;
  }
  return shown;
};

const within = (value, low, high) => Math.min(Math.max(value, low), high);

const rounded = (value) => told(Number(value.toPrecision(6)));

// Ticks at 1, 2 and 5, where they are few.
const linearTicks = (low, high) => {
  const rough = (high - low) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
};

const logTicks = (low, high, given) => {
  const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const powers = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  const steps = given ?? (powers.length <= 4 ? [1, 2, 5] : [1]);
  const ticks = powers.flatMap((power) => steps.map((step) => step * 10 ** power));
  return ticks.filter((tick) => tick >= low && tick <= high);
};

// Linear within two margins, logarithmic beyond, so that a narrow margin can be seen.
const spreadOut = (low, high, margin) => {
  const linear = 2 * margin;
  const bent = (value) => {
    const size = Math.abs(value) / linear;
    return Math.sign(value) * (size <= 1 ? size : 1 + Math.log10(size));
  };
  const [first, last] = [low, high].map((end) => (Math.abs(end) > linear ? 1.3 * end : end));
  const [from, to] = [bent(first), bent(last)];
  const steps = logTicks(linear, Math.max(-first, last, linear), [1]);
  const ticks = [...steps.map((step) => -step).reverse(), -margin, 0, margin, ...steps];
  return {
    at: (value) => (bent(value) - from) / (to - from),
    ticks: ticks.filter((tick) => tick >= first && tick <= last),
  };
};

// An axis over these numbers: where a number stands, between 0 and 1, and its ticks.
const scaled = (values, { mayBeLog, margin }) => {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (mayBeLog && low > 0 && high > DIFFERENT * low) {
    [low, high] = [low / 1.2, high * 1.2];
    const at = (value) => Math.log(Math.max(value, Number.MIN_VALUE) / low) / Math.log(high / low);
    return { at, ticks: logTicks(low, high) };
  }
  const room = 0.04 * (high - low) || 0.05 * Math.abs(high) || 0.5;
  [low, high] = [low - room, high + room];
  if (margin && Math.max(-low, high) > WIDE * margin) return spreadOut(low, high, margin);
  return { at: (value) => (value - low) / (high - low), ticks: linearTicks(low, high) };
};

// One metric as an axis: what it says of each method, by the place of the method.
const quantity = (scenario, choice) => {
  const [place, kind] = [Number(choice.slice(1)), choice[0]];
  const metric = numbers.metrics[place];
  const isGap = kind === "g";
  const retrained = scenario.methods.findIndex(([, role]) => role === "retrained");
  const reference = scenario.rows[place][retrained];
  const of = (method) => {
    const row = scenario.rows[place][method];
    if (!row || (isGap && !row[2])) return null;
    const [mean, low, high] = row[isGap ? 2 : 1];
    const values = isGap ? gaps(row[0], reference[0]) : row[0];
    return { values, mean, ends: low === null ? [mean, mean] : [low, high] };
  };
  const unit = isGap ? metric.gapUnit : metric.unit;
  const title = isGap ? `${metric.title}: gap to Retrained` : metric.title;
  return {
    of,
    unit,
    title: unit ? `${title}, ${unit}` : title,
    mayBeLog: !metric.hasGap,
    margin: isGap ? scenario.margins[place] : null,
    reference: isGap ? 0 : metric.hasGap && reference ? reference[1][0] : null,
  };
};

// All that an axis has to have room for.
const shownOf = (found, { margin, reference }) =>
  [
    ...found.flatMap(({ values, mean }) => [...values, mean]),
    ...(margin ? [margin, -margin] : []),
    reference,
  ].filter((value) => value !== null);

const mean = (x, y) =>
  shape("path", {
    d: `M${x} ${y - 3.4}l3.4 3.4l-3.4 3.4l-3.4 -3.4z`,
    fill: "var(--ink)",
    stroke: "var(--paper)",
    "stroke-width": 0.8,
  });

const line = (x1, y1, x2, y2, more = {}) =>
  shape("line", { x1, y1, x2, y2, stroke: "var(--ink)", ...more });

const GRID = { stroke: "var(--rule)", "stroke-width": 0.5 };
const OF_RETRAINED = { stroke: "var(--retrained)", "stroke-dasharray": "4 2" };

const band = (x, y, width, height) =>
  shape("rect", { x, y, width, height, fill: "var(--equivalent)", "fill-opacity": 0.16 });

const words = (text, x, y, more = {}) =>
  shape("text", { x, y, fill: "var(--muted)", ...more }, text);

const picture = (height, label) =>
  shape("svg", {
    viewBox: `0 0 ${SIZE.width} ${Number(height.toFixed(2))}`,
    role: "img",
    "aria-label": label,
    "font-size": SIZE.letters,
    style: "font-family: var(--sans)",
  });

const empty = () => {
  const said = "No method has both numbers.";
  const svg = picture(60, said);
  svg.append(words(said, 4, 30));
  return svg;
};

const labelOf = ({ name, mark }, room) =>
  mark ? `${fitting(name, room - widthOf(` ${mark}`))} ${mark}` : fitting(name, room);

// What both figures have: the axis below with its title, what marks of methods say, what stands
// for Retrained.
const framed = (box, across, title, explained, label) => {
  const below = SIZE.bottom + (explained ? SIZE.note : 0);
  const svg = picture(box.bottom + below, label);
  const x = (value) => box.left + (box.right - box.left) * across.at(value);
  if (title.margin) {
    const low = x(-title.margin);
    svg.append(band(low, box.top, x(title.margin) - low, box.bottom - box.top));
  }
  let free = -Infinity; // right of the words that are there
  for (const tick of across.ticks) {
    svg.append(line(x(tick), box.top, x(tick), box.bottom, GRID));
    const half = widthOf(rounded(tick)) / 2;
    if (x(tick) - half < free) continue;
    free = x(tick) + half + 3;
    svg.append(words(rounded(tick), x(tick), box.bottom + 12, { "text-anchor": "middle" }));
  }
  svg.append(line(box.left, box.bottom, box.right, box.bottom, GRID));
  const shown = fitting(title.title, SIZE.width - 4);
  const aside = widthOf(shown) / 2 + 2;
  const center = within((box.left + box.right) / 2, aside, SIZE.width - aside);
  svg.append(words(shown, center, box.bottom + 27, { "text-anchor": "middle" }));
  if (explained) {
    const end = { "text-anchor": "end" };
    svg.append(words(explained, SIZE.width - SIZE.right, box.bottom + 27 + SIZE.note, end));
  }
  if (title.reference !== null) {
    const at = x(title.reference);
    svg.append(line(at, box.top, at, box.bottom, OF_RETRAINED));
    const half = widthOf("Retrained") / 2;
    const place = within(at, box.left + half, box.right - half);
    const over = { "text-anchor": "middle", fill: "var(--retrained)" };
    svg.append(words("Retrained", place, box.top - 4, over));
  }
  return { svg, x };
};

const group = ({ name, role }) =>
  shape("g", { "data-method": name, fill: COLOURS[role], "fill-opacity": 0.6 });

const point = (x, y, said) => shape("circle", { cx: x, cy: y, r: 2 }, shape("title", {}, said));

// A line for each method, its seeds at the same height in every line.
const strips = (methods, across, explained) => {
  const found = methods
    .map((method) => ({ ...method, x: across.of(method.place) }))
    .filter((each) => each.x);
  const pitch = Math.min(19.4, Math.max(11.2, 345 / found.length));
  const labels = found.map((each) => labelOf(each, 150));
  const left = Math.max(...labels.map(widthOf)) + 12;
  const bottom = SIZE.top + pitch * found.length;
  const box = { left, right: SIZE.width - SIZE.right, top: SIZE.top, bottom };
  const axis = scaled(shownOf(found.map((each) => each.x), across), across);
  const label = `${across.title} of every seed, one line for each method`;
  const { svg, x } = framed(box, axis, across, explained, label);
  found.forEach((method, place) => {
    const y = SIZE.top + pitch * (place + 0.5);
    const aside = { "text-anchor": "end", fill: "var(--ink)" };
    svg.append(words(labels[place], left - 6, y + 3.3, aside));
    const of = group(method);
    method.x.values.forEach((value, seed) => {
      if (value === null) return;
      const height = y + pitch * (0.34 * (((seed * GOLDEN) % 1) - 0.5) - 0.12);
      const said = `${method.name}, seed ${numbers.seeds[seed]}: ${withUnit(value, across.unit)}`;
      of.append(point(x(value), height, said));
    });
    const [low, high] = method.x.ends.map((end) => within(x(end), box.left, box.right));
    const below = y + 0.26 * pitch;
    of.append(line(low, below, high, below, { "stroke-width": 1.3 }));
    of.append(mean(x(method.x.mean), below));
    svg.append(of);
  });
  return svg;
};

// Boxes of labels that are not to lie on one another.
const overlaps = (one, other) =>
  one.x < other.x + other.width &&
  other.x < one.x + one.width &&
  one.y < other.y + other.height &&
  other.y < one.y + one.height;

// Words that are read above points and lines.
const ABOVE = {
  fill: "var(--ink)",
  stroke: "var(--paper)",
  "stroke-width": 2.5,
  "paint-order": "stroke",
};

// One metric over another: small points are seeds, diamonds means with intervals both ways.
const scatter = (methods, across, up, explained) => {
  const found = methods
    .map((method) => ({ ...method, x: across.of(method.place), y: up.of(method.place) }))
    .filter((each) => each.x && each.y);
  if (!found.length) return empty();
  const height = 300;
  const vertical = scaled(shownOf(found.map((each) => each.y), up), up);
  const ticks = vertical.ticks.map(rounded);
  const left = 20 + Math.max(...ticks.map(widthOf));
  const box = { left, right: SIZE.width - SIZE.right, top: SIZE.top, bottom: height - SIZE.bottom };
  const axis = scaled(shownOf(found.map((each) => each.x), across), across);
  const label = `${up.title} over ${across.title}, a point for each seed`;
  const { svg, x } = framed(box, axis, across, explained, label);
  const y = (value) => box.bottom - (box.bottom - box.top) * vertical.at(value);
  if (up.margin) {
    const high = y(up.margin);
    svg.append(band(box.left, high, box.right - box.left, y(-up.margin) - high));
  }
  vertical.ticks.forEach((tick, place) => {
    svg.append(line(box.left, y(tick), box.right, y(tick), GRID));
    svg.append(words(ticks[place], box.left - 5, y(tick) + 3.3, { "text-anchor": "end" }));
  });
  if (up.reference !== null) {
    svg.append(line(box.left, y(up.reference), box.right, y(up.reference), OF_RETRAINED));
  }
  const title = fitting(up.title, height - 20);
  const center = Math.max((box.top + box.bottom) / 2, widthOf(title) / 2 + 2);
  const turned = { "text-anchor": "middle", transform: `translate(9 ${center}) rotate(-90)` };
  svg.append(words(title, 0, 0, turned));
  const around = (at, over) => ({ x: at - 4, y: over - 4, width: 8, height: 8 });
  const taken = found.map((each) => around(x(each.x.mean), y(each.y.mean)));
  const labels = [];
  // Marked ones first, as long as labels have room.
  const inTurn = [...found].sort((one, other) => Boolean(other.mark) - Boolean(one.mark));
  for (const method of inTurn) {
    const of = group(method);
    method.x.values.forEach((value, seed) => {
      const other = method.y.values[seed];
      if (value === null || other === null) return;
      const both = `${withUnit(value, across.unit)} across, ${withUnit(other, up.unit)} up`;
      of.append(point(x(value), y(other), `${method.name}, seed ${numbers.seeds[seed]}: ${both}`));
    });
    const [at, over] = [x(method.x.mean), y(method.y.mean)];
    const thin = { "stroke-width": 0.8, "stroke-opacity": 0.5 };
    const ends = {
      x: method.x.ends.map((end) => within(x(end), box.left, box.right)),
      y: method.y.ends.map((end) => within(y(end), box.top, box.bottom)),
    };
    of.append(line(ends.x[0], over, ends.x[1], over, thin));
    of.append(line(at, ends.y[0], at, ends.y[1], thin));
    of.append(mean(at, over));
    svg.append(of);
    const text = labelOf(method, 150);
    const width = widthOf(text);
    const fits = (label) =>
      label.x >= box.left &&
      label.x + width <= SIZE.width &&
      label.y >= 0 &&
      !taken.some((other) => overlaps(label, other));
    const places = [5, -width / 2, -width - 5].flatMap((right) =>
      [-5, -13, 3].map((down) => ({ x: at + right, y: over + down, width, height: 10 })),
    );
    const free = places.find(fits);
    if (free) {
      taken.push(free);
      labels.push(words(text, free.x, free.y + 8, ABOVE));
    }
  }
  svg.append(...labels);
  return svg;
};

for (const plot of document.querySelectorAll(".first .plot")) {
  const section = plot.closest("section");
  const scenario = numbers.scenarios[Number(section.dataset.place)];
  const methods = scenario.methods.map(([name, role], place) => {
    const mark = scenario.marks?.[place];
    return { name, role, mark, place };
  });
  const first = plot.querySelector("svg");
  const metrics = numbers.metrics.map((metric, place) => ({ ...metric, place }));
  const there = metrics.filter(({ place }) => scenario.rows[place].some((row) => row));

  const choice = (named, ...before) => {
    const options = (kind, of, more = "") =>
      of.map(({ title, place }) => made("option", [title, more], { value: `${kind}${place}` }));
    const withGap = there.filter(({ place }) => scenario.rows[place].some((row) => row && row[2]));
    const groups = [
      made("optgroup", options("g", withGap, ", gap"), { label: "gap to Retrained" }),
      made("optgroup", options("v", there), { label: "value" }),
    ];
    const select = made("select", [...before, ...groups], { autocomplete: "off" });
    return { select, label: made("label", [`${named} `, select]) };
  };

  const across = choice("Across");
  const up = choice("up", made("option", ["each method"], { value: EACH }));
  const given = `${numbers.metrics[numbers.primary].hasGap ? "g" : "v"}${numbers.primary}`;
  across.select.value = given;

  // Others than the method that is looked at are pale.
  let looked = "";
  const mark = () => {
    for (const of of plot.querySelectorAll("[data-method]")) {
      of.setAttribute("opacity", looked && of.dataset.method !== looked ? 0.15 : 1);
    }
  };
  section.addEventListener("method", ({ detail }) => {
    looked = detail;
    mark();
  });

  // A click on a point is one on its method in the table.
  plot.addEventListener("click", ({ target }) => {
    const [, name] = /^(.*), seed -?\d+: /s.exec(target.closest("use, circle")?.textContent) ?? [];
    const buttons = [...section.querySelectorAll("table.sortable tbody button")];
    const button = buttons.find((each) => each.textContent === name);
    button?.click();
    button?.scrollIntoView({ block: "nearest" });
  });

  // What a point is, beside the first sign of the legend.
  const dot = plot.querySelector(".legend li").lastChild;
  const saidFirst = dot.textContent;
  const said = (y) => {
    const some = numbers.seeds.length < numbers.of;
    const drawn = some ? `; drawn are ${numbers.seeds.length} of ${numbers.of}` : "";
    return `one seed${y === EACH ? ", at the same height in every line" : ""}${drawn}`;
  };

  const draw = () => {
    const [x, y] = [across.select.value, up.select.value];
    const isGiven = x === given && y === EACH;
    const drawn = isGiven
      ? first
      : y === EACH
        ? strips(methods, quantity(scenario, x), scenario.explained)
        : scatter(methods, quantity(scenario, x), quantity(scenario, y), scenario.explained);
    plot.querySelector("svg").replaceWith(drawn);
    dot.textContent = isGiven ? saidFirst : said(y);
    mark();
  };
  across.select.addEventListener("change", draw);
  up.select.addEventListener("change", draw);
  const axes = made("div", [across.label, " ", up.label], { class: "axes on-screen" });
  plot.querySelector("svg").after(axes);
}
