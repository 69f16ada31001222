/**
 * The page at /ui: a list of files, of which at most two are under way, and the film of the chosen one.
 *
 * service.js talks to the service, list.js arranges, viewer.js shows films (film.js draws, lens.js
 * zooms, hand.js is mouse and fingers), reading.js tells, save.js exports, key.js asks for the key,
 * markdown.js renders the card. Research software, not a medical device.
 */

import * as keys from "./key.js";
import { arranged, makeOption, reveal, showList } from "./list.js";
import { render } from "./markdown.js";
import { showEntry, summary, titleOf } from "./reading.js";
import { copyReading, saveCsv, saveJson, savePng } from "./save.js";
import { Refusal, fetchExample, fetchModel, fetchView } from "./service.js";
import * as viewer from "./viewer.js";

const AT_ONCE = 2;
const FILMS_KEPT = 12; // of up to 12 MB; an older one is read again when it is chosen
const EXAMPLES = ["phantom-pneumonia.dcm", "phantom-healthy.png"];

const element = (id) => document.getElementById(id);

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
    const entry = { file, state: "waiting" };
    entry.option = makeOption(`file-${(made += 1)}`, () => choose(entry));
    entries.push(entry);
  }
  announce(`${files.length} ${files.length === 1 ? "file" : "files"} added.`);
  if (!chosen) choose(entries[0]);
  update();
  work();
}

function choose(entry) {
  chosen = entry;
  if (entry?.reading && !entry.view) again(entry);
  update();
  if (entry) reveal(entry.option);
  show();
}

function again(entry) {
  entry.state = "waiting";
  entry.problem = null;
  update();
  work();
}

/** Remove the chosen one, if the list shows it; the next is chosen, or the one before the last. */
function remove() {
  const shown = arranged(entries);
  const at = shown.indexOf(chosen);
  if (at < 0) return;
  entries = entries.filter((entry) => entry !== chosen);
  announce(`${chosen.file.name} removed.`);
  const next = shown[at + 1] ?? shown[at - 1] ?? entries[0] ?? null;
  choose(next);
  element(next ? "list" : "choose").focus();
}

function clear() {
  entries = [];
  choose(null);
  element("choose").focus();
  announce("All files removed.");
}

const update = () => showList(entries, chosen);

async function openExamples() {
  try {
    add(await Promise.all(EXAMPLES.map(fetchExample)));
  } catch (error) {
    const { title, detail } = problemOf(error);
    announce(`${title}. ${detail}`);
  }
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
    update();
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
  viewer.offer(chosen, entries);
  if (entry === chosen || entry === viewer.secondEntry()) show();
}

/** The films longest in the list go first, but not those on the screen. */
function forgetFilms() {
  const second = viewer.secondEntry();
  const held = entries.filter((entry) => entry.view && entry !== chosen && entry !== second);
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

function show() {
  document.title = titleOf(chosen);
  showEntry(chosen);
  viewer.showFilm(chosen, entries);
  const second = viewer.secondEntry();
  if (second && !second.view && second.state === "done") again(second);
}

// The model and the key

async function loadModel() {
  try {
    const { card, provider, manifest } = await fetchModel();
    element("served").textContent = `Served: ${manifest.name} ${manifest.version} on ${provider}.`;
    element("card").replaceChildren(render(card));
  } catch (error) {
    const problem = problemOf(error);
    element("served").textContent = `${problem.title}. ${problem.detail}`;
    if (problem.status === 401) askForKey(problem);
  }
}

function askForKey({ detail }) {
  locked = true;
  announce("This service asks for a key.");
  keys.ask(detail);
}

function onKey() {
  locked = false;
  announce("Another key is used from now on.");
  loadModel();
  work();
}

// What people do

function onListKey(event) {
  if (event.key === "Delete") remove();
  const shown = arranged(entries);
  const last = shown.length - 1;
  const at = shown.indexOf(chosen);
  const target = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: last }[event.key];
  if (target === undefined || last < 0) return;
  event.preventDefault();
  choose(shown[Math.min(Math.max(target, 0), last)]);
}

function onDrop(event) {
  event.preventDefault();
  document.body.classList.remove("dropping");
  add(event.dataTransfer.files);
}

async function copy() {
  const copied = await copyReading(chosen);
  announce(copied ? "The reading is in the clipboard." : "The browser did not let the page copy.");
}

function savePicture() {
  const canvas = document.createElement("canvas");
  viewer.paintChosen(canvas);
  savePng(chosen, canvas);
}

/** On a phone the film comes before the list, for eyes, fingers and screen readers alike. */
function arrangeDesk({ matches: narrow }) {
  const [list, film] = [element("listed"), document.querySelector(".film")];
  if (narrow) document.querySelector(".reading").after(list);
  else film.before(list);
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
element("examples").addEventListener("click", openExamples);
element("list").addEventListener("keydown", onListKey);
for (const id of ["named", "which", "order"]) element(id).addEventListener("input", update);
element("remove").addEventListener("click", remove);
element("clear").addEventListener("click", clear);
element("again").addEventListener("click", () => again(chosen));
element("save-csv").addEventListener("click", () => saveCsv(arranged(entries)));
element("save-json").addEventListener("click", () => saveJson(arranged(entries)));
element("save-png").addEventListener("click", savePicture);
element("copy").addEventListener("click", copy);
element("print").addEventListener("click", () => window.print());
element("to-card").addEventListener("click", () => {
  element("card-fold").open = true;
});

const narrow = matchMedia("(max-width: 44.99rem)");
narrow.addEventListener("change", arrangeDesk);
arrangeDesk(narrow);
viewer.start(show);
keys.start(onKey);
show();
loadModel();
if (location.hash === "#examples") openExamples(); // as `cxr demo` opens the page
