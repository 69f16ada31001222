/** The list of files: which are shown, in which order, and how far they are. */

import { summary } from "./reading.js";

const element = (id) => document.getElementById(id);

const SHOWN = {
  all: () => true,
  pneumonia: ({ reading }) => reading?.call === "pneumonia",
  "no pneumonia": ({ reading }) => reading?.call === "no pneumonia",
  refused: ({ problem }) => Boolean(problem),
  waiting: ({ state }) => state !== "done",
};
const ORDERS = {
  added: () => 0,
  name: (a, b) => a.file.name.localeCompare(b.file.name, undefined, { numeric: true }),
  highest: (a, b) => number(b, -1) - number(a, -1),
  lowest: (a, b) => number(a, 2) - number(b, 2),
};

/** Files without a reading come last, in either direction. */
const number = ({ reading }, without) => reading?.probability ?? without;

/** Make the line of a file; a click calls `onClick`. */
export function makeOption(id, onClick) {
  const option = document.createElement("li");
  option.id = id;
  option.setAttribute("role", "option");
  option.append(made("name"), made("state"));
  option.addEventListener("click", onClick);
  return option;
}

function made(className) {
  const span = document.createElement("span");
  span.className = className;
  return span;
}

/** The entries that the list shows, in its order. */
export function arranged(entries) {
  const part = element("named").value.trim().toLowerCase();
  return entries
    .filter(SHOWN[element("which").value])
    .filter(({ file }) => file.name.toLowerCase().includes(part))
    .sort(ORDERS[element("order").value]);
}

/** Bring list, progress and what can be saved up to date. */
export function showList(entries, chosen) {
  const shown = arranged(entries);
  element("listed").hidden = !entries.length;
  element("arrange").hidden = entries.length < 2;
  element("none-match").hidden = Boolean(shown.length);
  element("save-note").textContent = `Save ${shown.length} of ${entries.length}:`;
  for (const entry of shown) fill(entry, chosen);
  place(shown.map(({ option }) => option));
  element("remove").disabled = !shown.includes(chosen);
  if (shown.includes(chosen)) element("list").setAttribute("aria-activedescendant", chosen.option.id);
  else element("list").removeAttribute("aria-activedescendant");
  showProgress(entries);
}

function fill(entry, chosen) {
  const [name, state] = entry.option.children;
  name.textContent = entry.file.name;
  const text = summary(entry);
  if (state.textContent !== text) state.textContent = text;
  entry.option.setAttribute("aria-selected", String(entry === chosen));
}

/** Only where something moved: it costs the place that the list was scrolled to. */
function place(options) {
  const list = element("list");
  const same = options.length === list.children.length;
  if (same && options.every((option, at) => list.children[at] === option)) return;
  const { scrollTop } = list;
  list.replaceChildren(...options);
  list.scrollTop = scrollTop;
}

/** Scroll the list, and not the page, to where this line is. */
export function reveal({ offsetTop, offsetHeight }) {
  const list = element("list");
  const last = offsetTop + offsetHeight - list.clientHeight;
  list.scrollTop = Math.min(Math.max(list.scrollTop, last), offsetTop);
}

function showProgress(entries) {
  const done = entries.filter(({ state }) => state === "done").length;
  element("progress").hidden = done === entries.length;
  element("progress").max = Math.max(entries.length, 1);
  element("progress").value = done;
}
