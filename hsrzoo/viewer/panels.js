// The images: each panel is a canvas that shows one picture; all share one zoom and place.

const view = { x: WIDTH / 2, y: HEIGHT / 2, zoom: 1 }; // centre in image pixels; 1 shows all
const MOST_ZOOM = Math.max(8, Math.min(WIDTH, HEIGHT) / 4);

class Panel {
  constructor(figure) {
    this.figure = figure;
    this.canvas = figure.querySelector("canvas.view");
    this.bar = figure.querySelector(".bar");
    this.outside = figure.querySelector(".outside");
    this.source = document.createElement("canvas");
    this.source.width = WIDTH;
    this.source.height = HEIGHT;
    this.context = this.source.getContext("2d");
    this.shown = null; // what the source holds, so that nothing is painted twice
  }

  showPicture(image) {
    if (this.shown === image) return;
    this.shown = image;
    this.context.clearRect(0, 0, WIDTH, HEIGHT);
    this.context.drawImage(image, 0, 0, WIDTH, HEIGHT);
    if (this.bar) this.bar.hidden = true;
    if (this.outside) this.outside.hidden = true;
  }

  // `clipped`: values above the range's high end exist, and get its colour.
  showPlane(source, plane, range, colours, clipped = true) {
    const key = `${source.name} ${plane} ${colours === GREY_RAMP}`;
    if (this.shown === key) return;
    this.shown = key;
    paint(this.context, source, plane, range, colours);
    this.bar.hidden = !range;
    if (this.outside) this.outside.hidden = !range || !source.marked;
    if (!range) return;
    if (source.marked) {
      const { below, above } = source.outside(plane);
      const shares = this.outside.querySelectorAll("output");
      [shares[0].textContent, shares[1].textContent] = [percent(below), percent(above)];
    }
    paintBar(this.bar.querySelector("canvas"), colours);
    const [low, high] = this.bar.querySelectorAll("span");
    low.textContent = short(range.low);
    high.textContent = (clipped ? "≥ " : "") + short(range.high);
  }

  // Device pixels per image pixel, and where the image's corner lies.
  frame() {
    const { width, height } = this.canvas;
    const scale = Math.min(width / WIDTH, height / HEIGHT) * view.zoom;
    return { scale, left: width / 2 - view.x * scale, top: height / 2 - view.y * scale };
  }

  // The image position under a point of the window, in image pixels.
  position(clientX, clientY) {
    const box = this.canvas.getBoundingClientRect();
    const { scale, left, top } = this.frame();
    const ratio = this.canvas.width / box.width;
    return {
      x: ((clientX - box.left) * ratio - left) / scale,
      y: ((clientY - box.top) * ratio - top) / scale,
    };
  }

  // `veil`: a canvas of the image's size to lay over it, or null.
  draw(marks, veil) {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    const context = this.canvas.getContext("2d");
    const { scale, left, top } = this.frame();
    context.clearRect(0, 0, width, height);
    context.imageSmoothingEnabled = scale < 1; // enlarged pixels stay squares
    for (const layer of veil ? [this.source, veil] : [this.source]) {
      context.drawImage(layer, left, top, WIDTH * scale, HEIGHT * scale);
    }
    for (const mark of marks) drawMark(context, mark, { scale, left, top, ratio });
  }
}

// A mark: { rect, colour, label }; a pixel gets a ring with a hole, a region its outline.
function drawMark(context, mark, { scale, left, top, ratio }) {
  const { x0, y0, x1, y1 } = mark.rect;
  const box = [left + x0 * scale, top + y0 * scale, (x1 - x0 + 1) * scale, (y1 - y0 + 1) * scale];
  const path = new Path2D();
  const x = box[0] + box[2] / 2;
  const y = box[1] + box[3] / 2;
  if (x0 === x1 && y0 === y1) {
    const radius = Math.max(6 * ratio, scale * 0.75);
    path.arc(x, y, radius, 0, 2 * Math.PI);
    if (!mark.label) {
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        path.moveTo(x + dx * radius, y + dy * radius);
        path.lineTo(x + dx * radius * 2, y + dy * radius * 2);
      }
    }
  } else {
    path.rect(...box);
  }
  for (const [colour, width] of [["#000", 6], ["#fff", mark.colour ? 4.5 : 3], [mark.colour, 2.75]]) {
    if (!colour) continue;
    context.strokeStyle = colour;
    context.lineWidth = width * ratio;
    context.stroke(path);
  }
  if (!mark.label) return;
  context.font = `600 ${12 * ratio}px system-ui, sans-serif`;
  context.lineWidth = 3 * ratio;
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  const at = [x + 9 * ratio, y - 8 * ratio];
  context.strokeText(mark.label, ...at);
  context.fillText(mark.label, ...at);
}

// Zoom by `factor` and keep the image position `at` where it is.
function zoomAt(at, factor) {
  const zoom = Math.max(1, Math.min(MOST_ZOOM, view.zoom * factor));
  const change = view.zoom / zoom;
  moveTo(at.x + (view.x - at.x) * change, at.y + (view.y - at.y) * change, zoom);
}

// Never past the image's edges: half of what is visible stays inside.
function moveTo(x, y, zoom = view.zoom) {
  const inside = (centre, size) => {
    const half = size / 2 / zoom;
    return Math.max(half, Math.min(size - half, centre));
  };
  view.zoom = zoom;
  view.x = inside(x, WIDTH);
  view.y = inside(y, HEIGHT);
}

// Moves the view just so far that the pixel is visible.
function reveal({ x, y }) {
  const half = { x: WIDTH / 2 / view.zoom, y: HEIGHT / 2 / view.zoom };
  const near = (centre, at, reach) => Math.max(at + 1 - reach, Math.min(at + reach, centre));
  moveTo(near(view.x, x, half.x), near(view.y, y, half.y));
}
