// Colours that are distinguishable with any colour vision.

// Okabe and Ito, "Color universal design" (2008), without black and yellow, which vanish on dark and
// on light paper.
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const SHAPES = ["circle", "square", "triangle", "diamond", "plus", "cross"];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4", "5 2 2 2 2 2"];

// Every style differs from every other in colour or dash, the first six in colour, dash and shape.
function styleOf(index) {
  const colour = index % PALETTE.length;
  const turn = Math.floor(index / PALETTE.length);
  return {
    colour: PALETTE[colour],
    shape: SHAPES[(colour + turn) % SHAPES.length],
    dash: DASHES[(colour + turn) % DASHES.length],
  };
}

// Cividis (Nunez, Anderton and Renslow 2018), at 17 even steps: dark blue to yellow.
const CIVIDIS = [
  [0, 34, 78], [0, 46, 106], [26, 56, 111], [50, 67, 109], [67, 78, 108], [83, 90, 109],
  [97, 101, 111], [111, 112, 115], [125, 124, 120], [139, 135, 120], [154, 147, 118], [170, 160, 115],
  [187, 173, 109], [204, 186, 100], [221, 200, 88], [239, 215, 72], [254, 232, 56],
];

function ramp(stops) {
  const colours = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) {
      colours[3 * i + c] = stops[k][c] + (place - k) * (stops[k + 1][c] - stops[k][c]);
    }
  }
  return colours;
}

const GREY_RAMP = ramp([[0, 0, 0], [255, 255, 255]]);
const ERROR_RAMP = ramp(CIVIDIS);
const DIMMED = [128, 128, 128, 210]; // over unfamiliar pixels
const OUTSIDE = { below: [86, 180, 233], above: [213, 94, 0] }; // of the palette; also in style.css

// One plane as an image: `low` in the ramp's first colour, `high` in its last; no data is transparent.
// Values below 0 and above the white have colours of their own, where the source marks them.
function paint(context, source, plane, range, colours) {
  const image = context.createImageData(WIDTH, HEIGHT);
  if (range) {
    const stops = [...colours, ...OUTSIDE.below, ...OUTSIDE.above];
    const table = new Uint16Array(NO_DATA);
    const span = range.high - range.low || 1;
    for (let i = 0; i < NO_DATA; i++) {
      const side = source.side(i);
      if (side) {
        table[i] = side < 0 ? 256 : 257;
        continue;
      }
      const share = (source.offset + source.step * i - range.low) / span;
      table[i] = Math.max(0, Math.min(255, Math.round(255 * share)));
    }
    for (let i = 0; i < SIZE; i++) {
      const value = source.integers[plane * SIZE + i];
      if (value === NO_DATA) continue;
      const colour = 3 * table[value];
      image.data[4 * i] = stops[colour];
      image.data[4 * i + 1] = stops[colour + 1];
      image.data[4 * i + 2] = stops[colour + 2];
      image.data[4 * i + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
}

function paintBar(canvas, colours) {
  canvas.width = 256;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let i = 0; i < 256; i++) {
    image.data.set([colours[3 * i], colours[3 * i + 1], colours[3 * i + 2], 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}
