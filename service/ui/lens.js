/** Zoom and pan: one transform for all canvases of the film, so that films move together. */

const MOST = 16; // times the size that fits

export class Lens {
  #canvases;
  #onChange;
  #scale = 1;
  #x = 0; // of the upper left corner, in pixels of the page
  #y = 0;

  /** `onChange(scale)` is called after each change. */
  constructor(canvases, onChange) {
    this.#canvases = canvases;
    this.#onChange = onChange;
  }

  get scale() {
    return this.#scale;
  }

  /** Zoom by a factor and keep what is at this place of the pane, by default its middle. */
  zoom(factor, x = this.#pane.clientWidth / 2, y = this.#pane.clientHeight / 2) {
    const scale = Math.min(Math.max(this.#scale * factor, 1), MOST);
    this.#x = x - ((x - this.#x) * scale) / this.#scale;
    this.#y = y - ((y - this.#y) * scale) / this.#scale;
    this.#scale = scale;
    this.#apply();
  }

  move(dx, dy) {
    this.#x += dx;
    this.#y += dy;
    this.#apply();
  }

  fit() {
    this.#scale = 1;
    this.#apply();
  }

  get #pane() {
    return this.#canvases[0].parentElement;
  }

  /** The film always fills its pane. */
  #apply() {
    const inside = (at, size) => Math.min(Math.max(at, size * (1 - this.#scale)), 0);
    this.#x = inside(this.#x, this.#pane.clientWidth);
    this.#y = inside(this.#y, this.#pane.clientHeight);
    for (const canvas of this.#canvases) {
      canvas.style.transform = `translate(${this.#x}px, ${this.#y}px) scale(${this.#scale})`;
    }
    this.#onChange(this.#scale);
  }
}
