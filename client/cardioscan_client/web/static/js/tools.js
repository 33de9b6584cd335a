// Tools over a layout of leads: a caliper, redrawing and erasing. Each works with a pointer and with keys alone.

import { millivoltsAt, secondsAt, segmentAt } from "./leads.js";

const digits = (value, places) => {
  const text = value.toFixed(places);
  return Number(text) === 0 ? (0).toFixed(places) : text.replace("-", "\u2212");
};

class Tool {
  // host: { layout, say(text), repaint(), show(x, y) }
  constructor(host) {
    this.host = host;
    this.cursor = [host.layout.width / 2, host.layout.height / 2];
    this.keyed = false;
  }

  // Arrow keys move a cross over the page by 1 mm, with Shift by 5 mm; Enter is what a press of the pointer is.
  key(event) {
    const { layout } = this.host;
    const step = (event.shiftKey ? 5 : 1) * layout.perMm * (event.key.startsWith("Arrow") ? 1 : 0);
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (moves[event.key]) {
      const [dx, dy] = moves[event.key];
      const within = (value, most) => Math.min(Math.max(value, 0), most);
      this.cursor = [within(this.cursor[0] + dx * step, layout.width), within(this.cursor[1] + dy * step, layout.height)];
      this.keyed = true;
      this.host.show(...this.cursor);
      this.point(this.cursor);
    } else if (event.key === "Enter" || event.key === " ") {
      this.keyed = true;
      this.press(this.cursor, event.shiftKey);
    } else if (event.key === "Escape") {
      this.cancel();
    } else {
      return false;
    }
    this.host.repaint();
    return true;
  }

  point() {}

  describe([x, y]) {
    const segment = segmentAt(this.host.layout, [x, y]);
    if (!segment) return "beside the traces";
    return `${segment.lead}, ${digits(secondsAt(segment, x), 3)} s, ${digits(millivoltsAt(segment, y), 2)} mV`;
  }

  drawCross(context, unit) {
    if (!this.keyed) return;
    const [x, y] = this.cursor;
    context.strokeStyle = "#000";
    for (const width of [3, 1]) {
      context.lineWidth = width * unit;
      context.strokeStyle = width === 3 ? "#fff" : "#000";
      context.beginPath();
      context.moveTo(x - 12 * unit, y), context.lineTo(x + 12 * unit, y);
      context.moveTo(x, y - 12 * unit), context.lineTo(x, y + 12 * unit);
      context.stroke();
    }
  }
}

export class Caliper extends Tool {
  down(point) {
    this.keyed = false;
    [this.from, this.to] = [point, point];
    this.read();
  }

  move(point) {
    this.to = point;
    this.read();
  }

  up(point) {
    this.move(point);
  }

  press(point) {
    if (this.from && this.open) {
      this.to = point;
      this.open = false;
    } else {
      [this.from, this.to, this.open] = [point, point, true];
    }
    this.read();
  }

  point(point) {
    if (this.open) {
      this.to = point;
      this.read();
    } else {
      this.host.say(this.describe(point));
    }
  }

  cancel() {
    this.from = this.to = null;
    this.open = false;
    this.host.say("");
    this.host.repaint();
  }

  read() {
    const { layout } = this.host;
    const segment = segmentAt(layout, this.from) ?? layout.segments[0];
    const seconds = Math.abs(this.to[0] - this.from[0]) / segment.perSecond;
    const mv = (this.from[1] - this.to[1]) / segment.perMv;
    const rate = seconds >= 0.15 ? `, as R-R ${Math.round(60 / seconds)}/min` : "";
    this.label = `${Math.round(seconds * 1000)} ms, ${digits(mv, 2)} mV`;
    this.host.say(`${this.label}${rate}`);
    this.host.repaint();
  }

  draw(context, unit) {
    this.drawCross(context, unit);
    if (!this.from) return;
    const [[x0, y0], [x1, y1]] = [this.from, this.to];
    context.fillStyle = "rgba(0, 110, 200, 0.14)";
    context.fillRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    context.strokeStyle = "#0063b8";
    context.lineWidth = 1.5 * unit;
    context.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
    context.font = `600 ${13 * unit}px system-ui, sans-serif`;
    const width = context.measureText(this.label).width + 10 * unit;
    const { layout } = this.host;
    const left = Math.min(Math.max(Math.min(x0, x1), 0), layout.width - width);
    const top = Math.max(Math.min(y0, y1) - 24 * unit, 0);
    context.fillStyle = "#0063b8";
    context.fillRect(left, top, width, 20 * unit);
    context.fillStyle = "#fff";
    context.fillText(this.label, left + 5 * unit, top + 14.5 * unit);
  }
}

export class Redraw extends Tool {
  // done(edit) is called with {kind: "redraw", lead, points: [[s, mV], ...]}.
  constructor(host, done) {
    super(host);
    this.done = done;
    this.points = [];
  }

  begin(point) {
    this.segment = segmentAt(this.host.layout, point, this.host.lead());
    this.points = [];
    if (!this.segment) this.host.say("Begin on the row of a lead.");
    else this.add(point);
  }

  // Time runs on: a point that lies left of the last one takes its place.
  add([x, y]) {
    const at = Math.min(Math.max(x, this.segment.x), this.segment.end);
    while (this.points.length && at <= this.points.at(-1)[0]) this.points.pop();
    this.points.push([at, y]);
    this.host.repaint();
  }

  down(point, event) {
    this.keyed = false;
    this.begin(point);
    event?.preventDefault();
  }

  move(point) {
    if (this.segment) this.add(point);
  }

  up() {
    this.finish();
  }

  press(point, last) {
    if (this.segment) this.add(point); else this.begin(point);
    if (last) this.finish();
    else if (this.segment) this.host.say(`Point ${this.points.length} on ${this.segment.lead}. Shift and Enter sets the last one.`);
  }

  point(point) {
    this.host.say(this.describe(point));
  }

  finish() {
    const { segment, points } = this;
    this.cancel();
    if (!segment || points.length < 2) return;
    const values = points.map(([x, y]) => [secondsAt(segment, x), millivoltsAt(segment, y)]);
    this.done({ kind: "redraw", lead: segment.lead, points: values });
  }

  cancel() {
    this.segment = null;
    this.points = [];
    this.host.repaint();
  }

  draw(context, unit, colours) {
    this.drawCross(context, unit);
    if (!this.points.length) return;
    context.strokeStyle = colours.hand;
    context.lineWidth = 2.5 * unit;
    context.beginPath();
    this.points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (this.keyed) context.lineTo(...this.cursor);
    context.stroke();
  }
}

export class Erase extends Redraw {
  finish() {
    const { segment, points } = this;
    const [from, to] = [points[0], points.at(-1)];
    this.cancel();
    if (!segment || points.length < 2) return;
    this.done({ kind: "erase", lead: segment.lead, start_s: secondsAt(segment, from[0]), stop_s: secondsAt(segment, to[0]) });
  }

  draw(context, unit) {
    this.drawCross(context, unit);
    if (!this.segment || !this.points.length) return;
    const left = this.points[0][0];
    const right = this.keyed ? this.cursor[0] : this.points.at(-1)[0];
    const half = 1.2 * this.segment.perMv;
    context.fillStyle = "rgba(200, 30, 30, 0.25)";
    context.fillRect(left, this.segment.zero - half, right - left, 2 * half);
  }
}
