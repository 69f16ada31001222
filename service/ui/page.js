/**
 * The page at /ui: a list of files, of which at most two are under way, and the film of the chosen one.
 *
 * service.js talks to the service, film.js draws, reading.js tells, markdown.js renders the card.
 * Research software, not a medical device.
 */

import { Film, drawLegend, peak } from "./film.js";
import { render } from "./markdown.js";
import { showEntry, summary } from "./reading.js";
import { Refusal, fetchModel, fetchView, useKey } from "./service.js";

const AT_ONCE = 2;
const FILMS_KEPT = 12; // of up to 12 MB; an older one is read again when it is chosen

const element = (id) => document.getElementById(id);
const film = new Film(element("canvas"));

/** {file, option, state: "waiting" | "reading" | "done", reading, problem, view, pause} */
let entries = [];
let chosen = null;
let underWay = 0;
let locked = false; // until there is a key
let made = 0; // entries, for their ids

// The list

function add(files) {
  if (!files.length) return;
  for (const file of files) {
    const option = document.createElement("li");
    option.id = `file-${(made += 1)}`;
    option.setAttribute("role", "option");
    const entry = { file, option, state: "waiting" };
    option.addEventListener("click", () => choose(entry));
    element("list").append(option);
    entries.push(entry);
    label(entry);
  }
  announce(`${files.length} ${files.length === 1 ? "file" : "files"} added.`);
  element("list").hidden = element("clear").hidden = false;
  if (!chosen) choose(entries[0]);
  work();
}

function choose(entry) {
  chosen?.option.setAttribute("aria-selected", "false");
  chosen = entry;
  entry.option.setAttribute("aria-selected", "true");
  entry.option.scrollIntoView({ block: "nearest" });
  element("list").setAttribute("aria-activedescendant", entry.option.id);
  if (entry.reading && !entry.view) again(entry);
  show();
}

function again(entry) {
  entry.state = "waiting";
  entry.problem = null;
  label(entry);
  work();
}

function clear() {
  entries = [];
  chosen = null;
  element("list").replaceChildren();
  element("list").removeAttribute("aria-activedescendant");
  element("list").hidden = element("clear").hidden = true;
  element("choose").focus();
  announce("All files removed.");
  show();
}

function label(entry) {
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = entry.file.name;
  const state = document.createElement("span");
  state.className = "state";
  state.textContent = summary(entry);
  entry.option.replaceChildren(name, state);
}

// The queue

function work() {
  while (underWay < AT_ONCE && !locked) {
    const next = chosen?.state === "waiting" ? chosen : entries.find((e) => e.state === "waiting");
    if (!next) return;
    underWay += 1;
    read(next).finally(() => {
      underWay -= 1;
      work();
    });
  }
}

async function read(entry) {
  const tell = (change) => {
    Object.assign(entry, change);
    if (entries.includes(entry)) label(entry);
  };
  tell({ state: "reading", pause: 0 });
  try {
    const view = await fetchView(entry.file, (pause) => tell({ pause }));
    tell({ state: "done", reading: view.reading, view });
    forgetFilms();
  } catch (error) {
    const problem = problemOf(error);
    if (problem.status === 401) {
      tell({ state: "waiting" });
      askForKey(problem);
      return;
    }
    tell({ state: "done", problem, reading: null });
  }
  if (!entries.includes(entry)) return;
  const done = entries.filter(({ state }) => state === "done").length;
  announce(`${entry.file.name}: ${summary(entry)}. ${done} of ${entries.length} done.`);
  if (entry === chosen) show();
}

/** The films longest in the list go first, but not the one on the screen. */
function forgetFilms() {
  const held = entries.filter((entry) => entry.view && entry !== chosen);
  for (const entry of held.slice(0, Math.max(0, held.length + 1 - FILMS_KEPT))) entry.view = null;
}

/** What is no refusal is a fault of this page, and belongs into the console as well. */
function problemOf(error) {
  if (error instanceof Refusal) return error.problem;
  console.error(error);
  return { status: 0, code: "page_error", title: "Not shown", detail: String(error) };
}

function announce(text) {
  element("status").textContent = text;
}

// The film

function show() {
  const view = chosen?.view ?? null;
  showEntry(chosen);
  element("film").hidden = !view;
  element("no-film").hidden = Boolean(view);
  film.show(null);
  if (!view) return;
  resetWindow();
  film.show(view);
  drawLegend(element("legend"), view.colours);
  const text = heatText(view);
  element("heat-note").textContent = text;
  const { rows, columns } = view.reading.input;
  element("canvas").setAttribute("aria-label", `Radiograph, ${columns} × ${rows} pixels. ${text}`);
}

function heatText(view) {
  const strongest = peak(view);
  if (!strongest) return "The heatmap is empty.";
  const percent = (share) => `${Math.round(100 * share)} %`;
  return (
    `Strongest place of the heatmap: ${percent(strongest.level)} of the full scale, ` +
    `${percent(strongest.left)} from the left and ${percent(strongest.top)} from the top.`
  );
}

/** Take the values of the three sliders, and say them in percent. */
function adjust() {
  for (const name of ["opacity", "centre", "width"]) {
    film[name] = element(name).valueAsNumber;
    element(`${name}-value`).textContent = `${film[name]} %`;
    element(name).setAttribute("aria-valuetext", `${film[name]} %`);
  }
  film.redraw();
}

function resetWindow() {
  element("centre").value = 50;
  element("width").value = 100;
  adjust();
}

/** Begin to drag: the whole film is 100 %. Fingers scroll; they have the sliders. */
function grab({ target: canvas, clientX, clientY, pointerId, pointerType, button }) {
  if (pointerType === "touch" || button) return;
  const { centre, width } = film;
  canvas.setPointerCapture(pointerId);
  canvas.onpointermove = (event) => {
    element("centre").value = centre + (100 * (event.clientY - clientY)) / canvas.clientHeight;
    element("width").value = width + (100 * (event.clientX - clientX)) / canvas.clientWidth;
    adjust();
  };
}

// The model and the key

async function loadModel() {
  try {
    const { card, provider, manifest } = await fetchModel();
    const served = document.createElement("p");
    served.className = "small";
    served.textContent = `Served: ${manifest.name} ${manifest.version} on ${provider}.`;
    element("card").replaceChildren(served, render(card));
  } catch (error) {
    const problem = problemOf(error);
    element("card").textContent = `${problem.title}. ${problem.detail}`;
    if (problem.status === 401) askForKey(problem);
  }
}

function askForKey({ detail }) {
  locked = true;
  element("key-form").hidden = false;
  element("key-note").textContent = `${detail} The key is kept until the page is closed.`;
  announce("This service asks for a key.");
  element("key").focus();
}

function takeKey(event) {
  event.preventDefault();
  useKey(element("key").value);
  element("key").value = "";
  element("key-form").hidden = true;
  locked = false;
  element("choose").focus();
  loadModel();
  work();
}

// What people do

function onListKey(event) {
  const last = entries.length - 1;
  const at = entries.indexOf(chosen);
  const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
  if (target === undefined) return;
  event.preventDefault();
  choose(entries[Math.min(Math.max(target, 0), last)]);
}

function onDrop(event) {
  event.preventDefault();
  document.body.classList.remove("dropping");
  add(event.dataTransfer.files);
}

element("choose").addEventListener("change", ({ target }) => {
  add(target.files);
  target.value = ""; // so that the same file can be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", () => document.body.classList.remove("dropping"));
document.addEventListener("drop", onDrop);
element("list").addEventListener("keydown", onListKey);
element("clear").addEventListener("click", clear);
element("again").addEventListener("click", () => again(chosen));
for (const name of ["opacity", "centre", "width"]) element(name).addEventListener("input", adjust);
element("reset").addEventListener("click", resetWindow);
element("canvas").addEventListener("pointerdown", grab);
element("canvas").addEventListener("lostpointercapture", ({ target }) => {
  target.onpointermove = null;
});
element("key-form").addEventListener("submit", takeKey);

adjust();
loadModel();
