/** The picture of a file that was refused, where its pixels can be seen without a reading. */

// The service has decoded these before it refused them, within its limits; what it never decoded may
// be a bomb, and is left alone here too.
const DECODED = ["unfamiliar_image", "too_small"];
const MOST = 1024; // pixels a side

let latest = null;

/** Show the file of an entry that was refused. Browsers decode PNG and JPEG, but no DICOM. */
export async function showPicture(entry) {
  latest = entry;
  const figure = document.getElementById("refused");
  figure.hidden = true;
  if (!DECODED.includes(entry?.problem?.code)) return;
  const picture = await createImageBitmap(entry.file).catch(() => null);
  if (picture && latest === entry && entry.problem) {
    draw(document.getElementById("refused-film"), picture);
    figure.hidden = false;
  }
  picture?.close();
}

function draw(canvas, picture) {
  const scale = Math.min(1, MOST / Math.max(picture.width, picture.height));
  canvas.width = Math.max(1, Math.round(scale * picture.width));
  canvas.height = Math.max(1, Math.round(scale * picture.height));
  canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
}
