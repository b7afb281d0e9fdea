// What the page carries: facts (JSON), cubes and maps (packed integers), pictures.
// All files of this folder are joined into one script and share one scope.

const NO_DATA = 65535; // the integer of a value that is missing
const facts = JSON.parse(document.getElementById("facts").textContent);
const WIDTH = facts.width;
const HEIGHT = facts.height;
const SIZE = WIDTH * HEIGHT;

function bytesOf(element) {
  const text = element.textContent.trim();
  element.remove(); // megabytes of text that are no longer needed
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

// Inflate `count` planes of integers: low bytes, then high bytes, of the differences between planes.
async function planes(id, count) {
  const packed = new Blob([bytesOf(document.getElementById(id))]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const total = count * SIZE;
  const values = new Uint16Array(total);
  for (let i = 0; i < SIZE; i++) values[i] = bytes[i] | (bytes[total + i] << 8);
  for (let i = SIZE; i < total; i++) {
    values[i] = values[i - SIZE] + (bytes[i] | (bytes[total + i] << 8)); // modulo 65536
  }
  return values;
}

// C planes of H x W values: offset + step * integer.
class Planes {
  constructor(about, integers) {
    this.name = about.name;
    this.offset = about.offset;
    this.step = about.step;
    this.marked = Boolean(about.marked); // reflectance: values outside 0 to 1 are marked
    this.integers = integers;
    this.count = integers.length / SIZE;
    this.ranges = new Map();
  }

  static async load(about, count) {
    const found = new Planes(about, await planes(about.id, count));
    if (about.interval) {
      found.interval = { name: about.interval.name, half: await Planes.load(about.interval.half, count) };
      const centre = about.interval.centre;
      found.interval.centre = centre ? await Planes.load(centre, count) : found;
    }
    return found;
  }

  // The ends of the interval of every plane at a pixel; null without intervals.
  ends(x, y) {
    if (!this.interval) return null;
    const { half, centre } = this.interval, low = [], high = [];
    for (let plane = 0; plane < this.count; plane++) {
      const middle = centre.at(plane, x, y), reach = half.at(plane, x, y);
      low.push(Math.max(0, middle - reach));
      high.push(Math.max(0, middle + reach));
    }
    return { low, high };
  }

  real(integer) {
    return integer === NO_DATA ? NaN : this.offset + this.step * integer;
  }

  at(plane, x, y) {
    return this.real(this.integers[plane * SIZE + y * WIDTH + x]);
  }

  // -1 below 0, 1 above the white, else 0. The limits themselves may be stored half a step off.
  side(integer) {
    if (!this.marked) return 0;
    const value = this.real(integer), half = 0.501 * this.step;
    return value < -half ? -1 : value > 1 + half ? 1 : 0;
  }

  // Shares of a plane's pixels with data.
  outside(plane) {
    let below = 0, above = 0, total = 0;
    for (let i = plane * SIZE; i < (plane + 1) * SIZE; i++) {
      if (this.integers[i] === NO_DATA) continue;
      const side = this.side(this.integers[i]);
      total++;
      if (side < 0) below++;
      if (side > 0) above++;
    }
    return { below: below / total, above: above / total };
  }

  // Mean, least and greatest value of every plane over a rectangle (both ends included).
  // NaN where a plane has no data there; pixels without data are left out.
  over(rect) {
    const mean = [], low = [], high = [];
    for (let plane = 0; plane < this.count; plane++) {
      let sum = 0, count = 0, least = NO_DATA, most = -1;
      for (let y = rect.y0; y <= rect.y1; y++) {
        const row = plane * SIZE + y * WIDTH;
        for (let i = row + rect.x0; i <= row + rect.x1; i++) {
          const value = this.integers[i];
          if (value === NO_DATA) continue;
          sum += value;
          count++;
          if (value < least) least = value;
          if (value > most) most = value;
        }
      }
      mean.push(count ? this.offset + (this.step * sum) / count : NaN);
      low.push(count ? this.real(least) : NaN);
      high.push(count ? this.real(most) : NaN);
    }
    return { mean, low, high };
  }

  // The values below which the shares `from` and `to` of a plane's pixels lie; null without data.
  range(plane, from, to) {
    const key = `${plane} ${from} ${to}`;
    if (!this.ranges.has(key)) this.ranges.set(key, this.quantiles(plane, from, to));
    return this.ranges.get(key);
  }

  quantiles(plane, from, to) {
    const counts = new Uint32Array(NO_DATA);
    let total = 0;
    for (let i = plane * SIZE; i < (plane + 1) * SIZE; i++) {
      const value = this.integers[i];
      if (value === NO_DATA) continue;
      counts[value]++;
      total++;
    }
    if (!total) return null;
    const found = [from, to].map((share) => {
      const wanted = Math.max(1, Math.ceil(share * total));
      let value = 0;
      for (let seen = counts[0]; seen < wanted; seen += counts[value]) value++;
      return this.real(value);
    });
    return { low: found[0], high: found[1] };
  }
}

// The picture in an <img> of the page, decoded.
async function picture(id) {
  const image = document.getElementById(id);
  await image.decode();
  return image;
}

function bandName(index) {
  return facts.wavelengths ? `${plain(facts.wavelengths[index])} nm` : `band ${index + 1}`;
}

// A number as people write it: six digits, no trailing zeros; a dash for none.
function plain(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "no data";
}

function percent(share) {
  return `${Number((100 * share).toPrecision(2))} %`;
}

function short(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "no data";
}
