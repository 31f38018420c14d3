/** Plots as SVG: bars that stand on each other, and a rate as a line with gaps. */

const NAMESPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 170, LEFT = 44, RIGHT = 4, TOP = 8, BOTTOM = 22;
const PIXELS_PER_LABEL = 84;
const GAP = 0.22;

/** Draw *layers*, pairs of a class and what to read of a bucket, as stacked bars. */
export function barPlot(name, buckets, width, layers) {
  const sum = (bucket) => layers.reduce((total, [, read]) => total + read(bucket), 0);
  const sums = buckets.map(sum);
  const top = niceTop(Math.max(...sums), sums.every(Number.isInteger));
  const { svg, x, y, step } = frame(name, buckets, width, top, (value) => short(value));
  for (const [index, bucket] of buckets.entries()) {
    let below = 0;
    for (const [className, read] of layers) {
      const value = read(bucket);
      if (value > 0) {
        const bar = shape("rect", {
          class: className, x: x(index) + step * GAP / 2, width: Math.max(1, step * (1 - GAP)),
          y: y(below + value), height: Math.max(1, y(below) - y(below + value)),
        });
        bar.append(shape("title", {}, `${label(bucket.at)}: ${short(value)} ${className}`));
        svg.append(bar);
      }
      below += value;
    }
  }
  return svg;
}

/** Draw what *read* says of each bucket, 0 to 1; null interrupts the line. */
export function ratePlot(name, buckets, width, read) {
  const { svg, x, y, step } = frame(name, buckets, width, 1, (value) => `${Math.round(100 * value)} %`);
  let line = "", isDrawing = false;
  for (const [index, bucket] of buckets.entries()) {
    const value = read(bucket);
    if (value !== null) {
      // A lone hour is a dash, so that it is seen.
      const from = x(index) + step * GAP / 2, to = x(index) + step * (1 - GAP / 2);
      line += `${isDrawing ? "L" : "M"}${from.toFixed(1)} ${y(value).toFixed(1)}H${to.toFixed(1)}`;
    }
    isDrawing = value !== null;
  }
  if (line) svg.append(shape("path", { class: "rate", d: line }));
  return svg;
}

function frame(name, buckets, width, top, write) {
  const svg = shape("svg", { role: "img", "aria-label": name, viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT });
  const step = (width - LEFT - RIGHT) / buckets.length;
  const x = (index) => LEFT + index * step;
  const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  for (const value of [0, top / 2, top]) {
    svg.append(
      shape("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
      shape("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, write(value)),
    );
  }
  const every = Math.ceil(buckets.length * PIXELS_PER_LABEL / (width - LEFT));
  for (let index = 0; index < buckets.length; index += every) {
    if (x(index) + PIXELS_PER_LABEL * 0.7 > width) break;
    svg.append(shape("text", { x: x(index), y: HEIGHT - 6 }, label(buckets[index].at)));
  }
  return { svg, x, y, step };
}

function shape(name, attributes, text) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [attribute, value] of Object.entries(attributes)) made.setAttribute(attribute, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** Return a round number from *value* on, an even one where half of it has to be whole. */
function niceTop(value, isWhole) {
  if (value <= 0) return isWhole ? 2 : 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const factors = isWhole && power === 1 ? [2, 4, 6, 8, 10] : [1, 2, 3, 4, 5, 6, 8, 10];
  return power * factors.find((factor) => factor * power >= value * 0.9999);
}

const short = (value) => value.toLocaleString("en", { notation: "compact", maximumSignificantDigits: 3 });
const label = (time) => new Date(time).toLocaleString("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
