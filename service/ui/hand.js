/** What mouse, fingers and keys do on the film: window, move, zoom. */

const STEP = 1.25; // of one press of a key or button
const KEY_PIXELS = 40; // that an arrow key moves

/**
 * Listen on the panes.
 *
 * `lens` zooms and moves, `turn` has the window: `turn.get()` and `turn.set({centre, width})` in
 * percent, `moves()` whether a mouse that is dragged moves the film.
 */
export function listen(panes, lens, turn, moves) {
  for (const glass of panes.querySelectorAll(".glass")) watch(glass, lens, turn, moves);
  panes.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !press(event.key, lens)) return;
    event.preventDefault();
  });
}

/** Whether the key does something. Arrows scroll the page while the whole film is shown. */
function press(key, lens) {
  const step = { "+": STEP, "=": STEP, "-": 1 / STEP }[key];
  const way = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[key];
  if (step) lens.zoom(step);
  else if (key === "0") lens.fit();
  else if (way && lens.scale > 1) lens.move(KEY_PIXELS * way[0], KEY_PIXELS * way[1]);
  else return false;
  return true;
}

function watch(glass, lens, turn, moves) {
  const pointers = new Map(); // by id: {x, y, now}, and where the window was when it came down

  glass.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    if (event.button === 1) event.preventDefault(); // no scrolling by the middle button
    glass.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, start: event, ...turn.get() });
  });
  glass.addEventListener("pointermove", (event) => {
    const pointer = pointers.get(event.pointerId);
    if (!pointer) return;
    const other = [...pointers.values()].find((one) => one !== pointer);
    if (other) pinch(pointer, other, event);
    else if (event.pointerType === "touch" || shifts(event)) {
      lens.move(event.clientX - pointer.x, event.clientY - pointer.y);
    } else drag(pointer, event);
    pointer.x = event.clientX;
    pointer.y = event.clientY;
  });
  glass.addEventListener("lostpointercapture", ({ pointerId }) => pointers.delete(pointerId));
  glass.addEventListener("wheel", wheel, { passive: false });
  glass.addEventListener("dblclick", (event) => {
    if (lens.scale > 1) lens.fit();
    else lens.zoom(2, ...place(event));
  });

  const shifts = ({ shiftKey, buttons }) => Boolean(buttons & 4) || moves() !== shiftKey;

  function place({ clientX, clientY }) {
    const { left, top } = glass.getBoundingClientRect();
    return [clientX - left, clientY - top];
  }

  /** The whole film is 100 %. */
  function drag({ start, centre, width }, { clientX, clientY }) {
    turn.set({
      centre: centre + (100 * (clientY - start.clientY)) / glass.clientHeight,
      width: width + (100 * (clientX - start.clientX)) / glass.clientWidth,
    });
  }

  /** What is under the finger that rests stays there. */
  function pinch(pointer, other, { clientX, clientY }) {
    const before = Math.hypot(pointer.x - other.x, pointer.y - other.y);
    const after = Math.hypot(clientX - other.x, clientY - other.y);
    if (before) lens.zoom(after / before, ...place({ clientX: other.x, clientY: other.y }));
  }

  /** Where the whole film is shown already, the page scrolls on. */
  function wheel(event) {
    if (lens.scale === 1 && event.deltaY >= 0) return;
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    lens.zoom(Math.exp(-0.002 * lines * event.deltaY), ...place(event));
  }
}

/** One step closer or farther, as the keys do. */
export const closer = (lens) => lens.zoom(STEP);
export const farther = (lens) => lens.zoom(1 / STEP);
