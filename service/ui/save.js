/** What can be taken along: the list as CSV or JSON, a film as PNG, a reading as text. */

import { sentenceOf } from "./reading.js";

const NOTICE = "Research use only, not a medical device.";
const LEAST = 1024; // pixels: a small film is drawn larger, so that the words below it can be read

const COLUMNS = {
  file: ({ file }) => file.name,
  state: ({ state }) => state,
  call: ({ reading }) => reading?.call,
  probability: ({ reading }) => reading?.probability,
  threshold: ({ reading }) => reading?.operating_point.threshold,
  operating_point: ({ reading }) => reading?.operating_point.name,
  calibration: ({ reading }) => reading?.calibration.name,
  familiarity: ({ reading }) => reading?.familiarity,
  view: ({ reading }) => reading?.input.view,
  rows: ({ reading }) => reading?.input.rows,
  columns: ({ reading }) => reading?.input.columns,
  warnings: ({ reading }) => reading?.warnings.join(" "),
  code: ({ problem }) => problem?.code,
  detail: ({ problem }) => problem?.detail,
  model: ({ reading }) => reading && `${reading.model.name} ${reading.model.version}`,
  model_sha256: ({ reading }) => reading?.model.sha256,
  intended_use: () => NOTICE,
};

/** One line a file, as RFC 4180 has it; spreadsheets take the mark in front for UTF-8. */
export function saveCsv(entries) {
  const lines = entries.map((entry) => Object.values(COLUMNS).map((column) => cell(column(entry))));
  const text = [Object.keys(COLUMNS), ...lines].map((line) => `${line.join(",")}\r\n`).join("");
  download("nanocxr-readings.csv", new Blob(["\ufeff", text], { type: "text/csv" }));
}

/** The readings and refusals as the service gave them, each with the name of its file. */
export function saveJson(entries) {
  const files = entries.map(({ file, state, reading, problem }) => ({
    file: file.name,
    state,
    reading: reading ?? null,
    problem: problem ?? null,
  }));
  const text = JSON.stringify({ intended_use: NOTICE, files }, null, 2);
  download("nanocxr-readings.json", new Blob([text], { type: "application/json" }));
}

/** A name that begins like a formula would be one in a spreadsheet. */
function cell(value) {
  if (typeof value === "number") return String(value);
  const text = String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** The film as it looks now, with the reading below it; `drawn` is the canvas with the film. */
export function savePng({ file, reading }, drawn) {
  const times = Math.max(1, Math.ceil(LEAST / drawn.width));
  const canvas = document.createElement("canvas");
  const lines = [`${sentenceOf(reading)}.`, `Model ${reading.model.name} ${reading.model.version}. ${NOTICE}`];
  const size = Math.round((times * drawn.width) / 50);
  canvas.width = times * drawn.width;
  canvas.height = times * drawn.height + 4 * size;
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(drawn, 0, 0, canvas.width, times * drawn.height);
  context.fillStyle = "white";
  context.font = `${size}px system-ui, sans-serif`;
  lines.forEach((line, at) => {
    const top = times * drawn.height + (1.6 + 1.5 * at) * size;
    context.fillText(line, size, top, canvas.width - 2 * size);
  });
  const name = file.name.replace(/\.[^.]*$/, "");
  canvas.toBlob((blob) => download(`${name}-heatmap.png`, blob), "image/png");
}

/** Put a reading into the clipboard; whether the browser let it. */
export async function copyReading({ file, reading }) {
  const text = [
    `${file.name}: ${sentenceOf(reading)}.`,
    ...reading.warnings.map((warning) => `Warning: ${warning}`),
    `Model ${reading.model.name} ${reading.model.version}, SHA-256 ${reading.model.sha256}.`,
    NOTICE,
  ].join("\n");
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOld(text);
  }
}

/** Browsers have no clipboard where the page came by plain HTTP from another computer. */
function copyOld(text) {
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  return copied;
}

function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // not before the browser has it
}
