// Mouse, pen, fingers and keys on the images.

const STILL = 4; // CSS pixels that a click may tremble

function clampPixel({ x, y }) {
  const inside = (v, size) => Math.max(0, Math.min(size - 1, Math.floor(v)));
  return { x: inside(x, WIDTH), y: inside(y, HEIGHT) };
}

function rectOf(a, b) {
  return {
    x0: Math.min(a.x, b.x), x1: Math.max(a.x, b.x),
    y0: Math.min(a.y, b.y), y1: Math.max(a.y, b.y),
  };
}

// `act` has select(rect, cursor), selection(), moving(), refresh() and key actions by name.
function listen(panel, act) {
  const pointers = new Map(); // id -> last place, one entry per finger or mouse
  let gesture = null; // what the first pointer does: "select" or "move"
  let start = null; // where it began, and what was selected then

  function drag(event) {
    const before = pointers.get(event.pointerId);
    const now = { x: event.clientX, y: event.clientY };
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      pinch(before, now, other);
    } else if (gesture === "move") {
      shift(before, now);
    } else if (gesture === "select" && Math.hypot(now.x - start.x, now.y - start.y) >= STILL) {
      const cursor = clampPixel(panel.position(now.x, now.y));
      act.select(rectOf(start.pixel, cursor), cursor);
    }
    pointers.set(event.pointerId, now);
  }

  function shift(before, now) {
    const a = panel.position(before.x, before.y);
    const b = panel.position(now.x, now.y);
    moveTo(view.x + a.x - b.x, view.y + a.y - b.y);
    act.refresh();
  }

  function pinch(before, now, other) {
    const length = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
    const middle = (p) => ({ x: (p.x + other.x) / 2, y: (p.y + other.y) / 2 });
    shift(middle(before), middle(now));
    const centre = middle(now);
    zoomAt(panel.position(centre.x, centre.y), length(now) / length(before));
    act.refresh();
  }

  panel.canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    event.preventDefault(); // no scrolling by the middle button, no selecting of text
    panel.canvas.focus({ preventScroll: true });
    panel.canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (pointers.size === 2) {
      if (gesture === "select") act.restore(start.before);
      gesture = "pinch";
    } else if (pointers.size === 1) {
      const move = act.moving() || event.shiftKey || event.button === 1;
      gesture = move ? "move" : "select";
      const pixel = clampPixel(panel.position(event.clientX, event.clientY));
      start = { x: event.clientX, y: event.clientY, pixel, before: act.selection() };
      if (!move) act.select(rectOf(pixel, pixel), pixel);
    }
  });
  panel.canvas.addEventListener("pointermove", (event) => {
    if (pointers.has(event.pointerId)) drag(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    panel.canvas.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      gesture = null; // a finger that stays after a pinch does nothing
    });
  }
  panel.canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode ? 30 : 1);
    zoomAt(panel.position(event.clientX, event.clientY), Math.exp(-pixels / 400));
    act.refresh();
  }, { passive: false });
  panel.canvas.addEventListener("keydown", (event) => keys(event, act));
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const KEYS = {
  "[": "bandDown", PageDown: "bandDown", "]": "bandUp", PageUp: "bandUp",
  Enter: "pin", Escape: "clear", "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", 0: "fit",
};

function keys(event, act) {
  if (event.altKey || event.metaKey || (event.ctrlKey && !ARROWS[event.key])) return;
  if (ARROWS[event.key]) {
    const far = event.ctrlKey ? 10 : 1;
    const [dx, dy] = ARROWS[event.key];
    act.step(dx * far, dy * far, event.shiftKey);
  } else if (KEYS[event.key]) {
    act[KEYS[event.key]]();
  } else {
    return;
  }
  event.preventDefault();
}
