/** The picture of a file that was refused, where its pixels can be seen without a reading. */

import { PLAIN, paint } from "./film.js";
import { fetchFilm } from "./service.js";

// The service has decoded these before it refused them, within its limits; what it never decoded may
// be a bomb, and is left alone here too.
const DECODED = ["unfamiliar_image", "too_small"];
const MOST = 1024; // pixels a side
const SHOWN = "The picture that was refused.";
const NOT_SHOWN = "The picture that was refused cannot be had again.";

const element = (id) => document.getElementById(id);

let latest = null;
let upload = Promise.resolve(); // one at a time, beside the readings
let kept = { entry: null, film: null };

/** Show the file of an entry that was refused: the browser draws PNG and JPEG, the service DICOM. */
export async function showPicture(entry) {
  latest = entry;
  element("refused").hidden = true;
  if (!DECODED.includes(entry?.problem?.code)) return;
  const picture = await createImageBitmap(entry.file).catch(() => null);
  const film = picture || latest !== entry ? null : await filmOf(entry);
  if (latest === entry && entry.problem) {
    element("refused").hidden = false;
    element("refused-film").hidden = !picture && !film;
    element("refused-note").textContent = picture || film ? SHOWN : NOT_SHOWN;
    if (picture) draw(element("refused-film"), picture);
    if (film) paint(element("refused-film"), film, PLAIN);
  }
  picture?.close();
}

/** The film as the service decodes it, asked for once while it is shown; null where it has none. */
async function filmOf(entry) {
  upload = upload.then(async () => {
    if (latest !== entry || (kept.entry === entry && kept.film)) return;
    kept = { entry, film: await fetchFilm(entry.file).catch(() => null) };
  });
  await upload;
  return kept.entry === entry ? kept.film : null;
}

function draw(canvas, picture) {
  const scale = Math.min(1, MOST / Math.max(picture.width, picture.height));
  canvas.width = Math.max(1, Math.round(scale * picture.width));
  canvas.height = Math.max(1, Math.round(scale * picture.height));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
}
