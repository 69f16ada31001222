/** Draw a radiograph and its heat on a canvas: windowed from 16 bits, blended with one opacity. */

const WHITE = 65535;

/** How films look: window in percent of the grey values, opacity in percent of the strongest heat. */
export const PLAIN = { centre: 50, width: 100, opacity: 0 };

export class Film {
  #canvas;
  #view = null;
  #scheduled = false;
  #look = PLAIN;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Show what `fetchView` returned in this look; null lets go of it. */
  show(view, look) {
    this.#view = view;
    this.#look = look;
    if (view) paint(this.#canvas, view, look);
  }

  /** Draw in another look before the next frame, once however often this is called until then. */
  redraw(look) {
    this.#look = look;
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (this.#view) paint(this.#canvas, this.#view, this.#look);
    });
  }
}

/** Give the canvas the pixels of the film, and draw them. */
export function paint(canvas, { rows, columns, grey, heat, colours }, { centre, width, opacity }) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const { data } = image;
  const levels = greyLevels(centre, width);
  const share = opacity / 100 / 255;
  for (let i = 0, o = 0; i < grey.length; i += 1, o += 4) {
    const level = levels[grey[i]];
    const strength = heat[i] * share;
    const colour = heat[i] * 3;
    data[o] = level + strength * (colours[colour] - level);
    data[o + 1] = level + strength * (colours[colour + 1] - level);
    data[o + 2] = level + strength * (colours[colour + 2] - level);
    data[o + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** The screen's level of each grey value; the array itself rounds and stays within 0 and 255. */
function greyLevels(centre, width) {
  const levels = new Uint8ClampedArray(WHITE + 1);
  const low = centre - width / 2;
  for (let value = 0; value <= WHITE; value += 1) {
    levels[value] = (255 * ((100 * value) / WHITE - low)) / width;
  }
  return levels;
}

/** Draw the colours of the heat from none to full scale. */
export function drawLegend(canvas, colours) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let level = 0; level < 256; level += 1) {
    image.data.set(colours.subarray(level * 3, level * 3 + 3), level * 4);
    image.data[level * 4 + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Where the heat is strongest: {level in [0, 1], left and top in [0, 1]}; null where there is none. */
export function peak({ rows, columns, heat }) {
  let at = 0;
  for (let i = 1; i < heat.length; i += 1) if (heat[i] > heat[at]) at = i;
  if (!heat[at]) return null;
  return { level: heat[at] / 255, left: (at % columns) / columns, top: Math.floor(at / columns) / rows };
}
