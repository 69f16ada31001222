/** The film on the screen: alone, beside its heatmap or beside another film. */

import { Film, drawLegend, paint, peak } from "./film.js";
import { closer, farther, listen } from "./hand.js";
import { Lens } from "./lens.js";
import { showPicture } from "./picture.js";
import { summary } from "./reading.js";

const element = (id) => document.getElementById(id);
const NOTHING = "Nothing to show yet. Choose a file, or open the examples: a phantom with pneumonia and without.";
const SLIDERS = ["opacity", "centre", "width"];

const films = [new Film(element("canvas")), new Film(element("other"))];
const lens = new Lens([element("canvas"), element("other")], (scale) => {
  element("zoom-value").textContent = `${Math.round(100 * scale)} %`;
  element("panes").classList.toggle("zoomed", scale > 1);
});

let chosen = null; // entries of the list
let others = [];

/** Show an entry, or that there is none (null); `entries` are those that may stand beside it. */
export function showFilm(entry, entries) {
  if (entry !== chosen) lens.fit();
  offer(entry, entries);
  chosen = entry;
  lay();
  showPicture(entry);
}

/** Offer the others that have a reading as second film; both films stay, whichever is chosen. */
export function offer(entry, entries) {
  const before = secondEntry() === entry ? chosen : secondEntry();
  others = entries.filter((one) => one !== entry && one.reading);
  const options = others.map((one) => new Option(one.file.name, one.option.id));
  element("second").replaceChildren(...options);
  if (others.includes(before)) element("second").value = before.option.id;
}

/** The entry whose film stands beside the chosen one; null where none does. */
export function secondEntry() {
  if (layout() !== "two") return null;
  return others.find(({ option }) => option.id === element("second").value) ?? null;
}

/** Draw the chosen film as it looks now, with its heatmap, on another canvas. */
export function paintChosen(canvas) {
  paint(canvas, chosen.view, look());
}

/** Call `onLayout` when other films are to be shown. */
export function start(onLayout) {
  const moves = () => element("drag").querySelector(":checked").value === "move";
  listen(element("panes"), lens, { get: look, set: turn }, moves);
  for (const name of SLIDERS) element(name).addEventListener("input", adjust);
  element("heat").addEventListener("change", adjust);
  element("reset").addEventListener("click", () => turn({ centre: 50, width: 100 }));
  element("closer").addEventListener("click", () => closer(lens));
  element("farther").addEventListener("click", () => farther(lens));
  element("fit").addEventListener("click", () => lens.fit());
  element("layout").addEventListener("change", onLayout);
  element("second").addEventListener("change", onLayout);
  window.addEventListener("resize", () => lens.move(0, 0));
  document.addEventListener("keydown", onKey);
  lens.fit();
  adjust();
}

const layout = () => element("layout").querySelector(":checked").value;

function lay() {
  const view = chosen?.view ?? null;
  const beside = { one: null, side: chosen, two: secondEntry() }[layout()];
  element("film").hidden = element("layout").hidden = !view;
  element("no-film").hidden = Boolean(view || chosen?.problem);
  element("no-film").textContent = chosen ? "Being read, or waiting for it." : NOTHING;
  element("second").hidden = !view || layout() !== "two";
  element("second").disabled = !others.length;
  element("second-pane").hidden = layout() === "one";
  if (!view) {
    for (const film of films) film.show(null, look());
    return;
  }
  const [first, second] = looks();
  films[0].show(view, first);
  films[1].show(beside?.view ?? null, second);
  element("other").hidden = !beside?.view;
  describe(beside);
  lens.move(0, 0); // the panes have other sizes
}

function describe(beside) {
  const { view } = chosen;
  drawLegend(element("legend"), view.colours);
  const text = heatText(view);
  const strongest = peak(view);
  element("heat-note").textContent = text;
  element("contrast-note").hidden =
    view.reading.call !== "no pneumonia" || percent(strongest?.level ?? 0) !== "100 %";
  element("canvas").setAttribute("aria-label", `${sizeText(view)} ${layout() === "side" ? "" : text}`);
  element("caption").textContent = captionOf(chosen, layout() === "side" ? "without heatmap" : "");
  element("other-caption").textContent = beside
    ? captionOf(beside, layout() === "side" ? "with heatmap" : "")
    : "There is no second film with a reading yet.";
  if (beside?.view) element("other").setAttribute("aria-label", `${sizeText(beside.view)} ${heatText(beside.view)}`);
}

function captionOf(entry, note) {
  return note ? `${entry.file.name}, ${note}` : `${entry.file.name}: ${summary(entry)}`;
}

function sizeText({ reading }) {
  return `Radiograph, ${reading.input.columns} × ${reading.input.rows} pixels.`;
}

const percent = (share) => `${Math.round(100 * share)} %`;

function heatText(view) {
  const strongest = peak(view);
  if (!strongest) return "The heatmap is empty.";
  return (
    `Strongest place of the heatmap: ${percent(strongest.level)} of the full scale, ` +
    `${percent(strongest.left)} from the left and ${percent(strongest.top)} from the top.`
  );
}

/** What the controls say; without its heatmap a film has no opacity. */
function look() {
  const [opacity, centre, width] = SLIDERS.map((name) => element(name).valueAsNumber);
  return { centre, width, opacity: element("heat").checked ? opacity : 0 };
}

function looks() {
  return layout() === "side" ? [{ ...look(), opacity: 0 }, look()] : [look(), look()];
}

/** Take the values of the controls, and say them in percent. */
function adjust() {
  for (const name of SLIDERS) {
    const text = `${element(name).valueAsNumber} %`;
    element(`${name}-value`).textContent = text;
    element(name).setAttribute("aria-valuetext", text);
  }
  looks().forEach((one, at) => films[at].redraw(one));
}

function turn({ centre, width }) {
  element("centre").value = centre;
  element("width").value = width;
  adjust();
}

/** The key h, unless it is a letter of something that is being typed or looked up. */
function onKey(event) {
  if (event.key.toLowerCase() !== "h" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input[type=search], select, dialog")) return;
  element("heat").click();
}
