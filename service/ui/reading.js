/** Say a reading in the panel beside the film, or a problem where the film would be. */

const element = (id) => document.getElementById(id);

/** Show one entry of the list; `entry` is null where nothing is chosen. */
export function showEntry(entry) {
  const { reading = null, problem = null } = entry ?? {};
  element("reading").hidden = !reading;
  element("problem").hidden = !problem;
  element("no-reading").hidden = Boolean(reading);
  element("no-reading").textContent = placeholder(entry);
  if (problem) showProblem(problem);
  if (reading) showReading(reading);
}

function placeholder(entry) {
  if (!entry) return "Choose a file.";
  return entry.problem ? "There is none: the file was not read." : "Not read yet.";
}

/** The title of the page. It names no file: browsers write titles into their history. */
export function titleOf(entry) {
  if (entry?.problem) return `No reading: ${entry.problem.title} - nanocxr`;
  if (!entry?.reading) return "nanocxr: look at radiographs";
  const { call, probability } = entry.reading;
  return `${call}, ${probability.toFixed(2)} - nanocxr`;
}

/** One line: what the list and the screen reader say of an entry. */
export function summary({ state, reading, problem, pause }) {
  if (state === "waiting") return "waiting";
  if (state === "reading") return pause ? `the service is busy, again in ${pause} s` : "being read";
  if (problem) return `no reading: ${problem.title}`;
  return `${reading.call}, ${reading.probability.toFixed(2)}`;
}

// Statuses of what is wrong with the file: it will be refused again.
const LASTING = [400, 413, 415, 422];

function showProblem({ title, detail, code, status, request_id: request }) {
  element("problem-title").textContent = title;
  element("problem-detail").textContent = detail;
  element("problem-code").textContent = code;
  element("problem-request").textContent = request ? `, request ${request}` : "";
  element("again").hidden = LASTING.includes(status);
}

function showReading(reading) {
  const { probability, call, operating_point: point, calibration } = reading;
  const sentence = sentenceOf(reading);
  element("probability").textContent = probability.toFixed(2);
  element("call").textContent = call;
  element("sentence").textContent = sentence;
  element("meter").setAttribute("aria-valuenow", probability.toFixed(4));
  element("meter").setAttribute("aria-valuetext", sentence);
  element("fill").style.width = `${100 * probability}%`;
  element("mark").style.left = `${100 * point.threshold}%`;
  element("mark-label").style.left = `${100 * Math.min(Math.max(point.threshold, 0.25), 0.75)}%`;
  element("mark-label").textContent = `threshold ${point.threshold.toFixed(2)}`;
  element("point-note").textContent = noteOf(point, calibration);
  showWarnings(reading.warnings);
  showFacts(reading);
}

function noteOf(point, calibration) {
  const rates =
    `sensitivity ${point.sensitivity.toFixed(2)} and specificity ${point.specificity.toFixed(2)}`;
  if (calibration.name === "site") {
    return (
      `The probability and this point were fitted to ${calibration.films} films of this site; ` +
      `on those held out the point reached ${rates}.`
    );
  }
  return (
    `The probability and this point were fitted to synthetic images. There the point reaches ` +
    `${rates}; on patients it does not.`
  );
}

/** Two decimals, or four where two would hide on which side of the threshold it lies. */
export function sentenceOf({ probability, call, operating_point: point }) {
  const same = probability.toFixed(2) === point.threshold.toFixed(2);
  const digits = same ? 4 : 2;
  let side = probability < point.threshold ? "below" : "above";
  if (probability === point.threshold) side = "at";
  return (
    `${probability.toFixed(digits)}, ${side} the threshold ${point.threshold.toFixed(digits)} ` +
    `of the operating point “${point.name}”: ${call}`
  );
}

function showWarnings(warnings) {
  const texts = warnings.length ? warnings : ["None."];
  element("warnings").replaceChildren(...texts.map((text) => filled("li", text)));
}

function showFacts({ input, model, familiarity }) {
  const facts = {
    Format: input.format,
    Size: `${input.columns} × ${input.rows} pixels`,
    Photometric: input.photometric,
    View: input.view ?? "not stated",
    Spacing: input.pixel_spacing_mm
      ? `${input.pixel_spacing_mm.map((mm) => mm.toPrecision(3)).join(" × ")} mm`
      : "not stated",
    "Transfer syntax": input.transfer_syntax ?? "none",
    Model: `${model.name} ${model.version}, SHA-256 ${model.sha256.slice(0, 12)}`,
  };
  if (typeof familiarity === "number") {
    facts.Familiarity = `${familiarity.toFixed(2)} (1: looks like a frontal chest radiograph)`;
  }
  const pairs = Object.entries(facts).flatMap(([name, fact]) => [
    filled("dt", name),
    filled("dd", fact),
  ]);
  element("facts").replaceChildren(...pairs);
}

function filled(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
