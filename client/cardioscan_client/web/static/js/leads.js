// Leads as drawn: where they stand, how sure they are, and which colour says so.

export const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
export const RATE_HZ = 500;

// Classes of confidence, surest first; `hand` is what a person has drawn.
export const CLASSES = [
  { id: "sure", least: 0.9, says: "0.9 and more" },
  { id: "likely", least: 0.7, says: "0.7 to 0.9" },
  { id: "doubtful", least: 0.4, says: "0.4 to 0.7" },
  { id: "unsure", least: 0, says: "below 0.4" },
  { id: "hand", least: Infinity, says: "drawn by hand" },
];

export function classOf(confidence) {
  return CLASSES.find((kind) => confidence >= kind.least).id;
}

export const colour = (name, at = document.documentElement) => getComputedStyle(at).getPropertyValue(`--${name}`).trim();

// The colours that count for an element of the page.
export function palette(at) {
  const names = ["paper", "grid-fine", "grid-coarse", "ink", ...CLASSES.map((kind) => kind.id)];
  const found = Object.fromEntries(names.map((name) => [name, colour(name, at)]));
  found.leads = LEADS.map((_, index) => colour(`lead-${index % 6}`, at));
  return found;
}

// Flags per sample of a lead: drawn by hand. Later edits count.
export function byHand(edits, lead) {
  const flags = new Uint8Array(10 * RATE_HZ + 1);
  for (const edit of edits.filter((item) => item.lead === lead)) {
    const [from, to] = edit.kind === "redraw"
      ? [edit.points[0][0], edit.points.at(-1)[0]] : [edit.start_s, edit.stop_s];
    flags.fill(edit.kind === "redraw" ? 1 : 0, Math.ceil(from * RATE_HZ - 1e-6), Math.floor(to * RATE_HZ + 1e-6) + 1);
  }
  return flags;
}

// Segments of a page: world = pixels of the flat page. An inverted lead has a negative scale.
export function pageLayout(page) {
  const segments = page.segments.map((segment) => ({
    lead: segment.lead, row: segment.row, x: segment.x_start, end: segment.x_end, start: segment.t_start,
    zero: page.zero_y[segment.row], perSecond: page.px_per_s, perMv: segment.sign * page.px_per_mv,
  }));
  return { width: page.width, height: page.height, perMm: page.px_per_mm, segments };
}

const LEFT = 12, TOP = 10, ROW = 30, RIGHT = 3, HEADLINE = 8;

// World = millimetres of paper at the page's own speed and gain; higher where waves of the first or last row need it.
export function sheetLayout(page, leads) {
  const { speed_mm_per_s: speed, gain_mm_per_mv: gain } = page;
  const rows = page.zero_y.length;
  const reach = (row, up) => Math.max(0, ...page.segments.filter((segment) => segment.row === row)
    .map(({ lead, sign }) => gain * leads[lead].mv.reduce((most, mv) => Math.max(most, up * sign * mv), 0)));
  const top = Math.max(TOP, HEADLINE + reach(0, 1) - ROW / 2);
  const below = Math.max(0, 2 + reach(rows - 1, -1) - ROW / 2);
  const segments = page.segments.map((segment) => {
    const x = LEFT + speed * segment.left_s;
    return {
      lead: segment.lead, row: segment.row, x, end: x + speed * segment.seconds, start: segment.t_start,
      zero: top + ROW * (segment.row + 0.5), perSecond: speed, perMv: segment.sign * gain,
    };
  });
  return {
    width: LEFT + page.width_s * speed + RIGHT, height: Math.ceil(top + ROW * rows + below), perMm: 1, segments, left: LEFT, gain,
  };
}

// The segment at a world point: of the column that holds it, the row whose zero line is nearest.
export function segmentAt(layout, [x, y], lead = null) {
  const near = layout.segments.filter((s) => (!lead || s.lead === lead) && x >= s.x && x <= s.end);
  near.sort((a, b) => Math.abs(a.zero - y) - Math.abs(b.zero - y));
  return near[0] ?? null;
}

export const secondsAt = (segment, x) => segment.start + (x - segment.x) / segment.perSecond;
export const millivoltsAt = (segment, y) => (segment.zero - y) / segment.perMv;

// Paths of a segment by colour: calls pen(key, points) for every run of samples of one colour; gaps end a run.
function runs(segment, lead, keyOf, pen) {
  const begin = Math.max(Math.round(segment.start * RATE_HZ), lead.first);
  const stop = Math.round((segment.start + (segment.end - segment.x) / segment.perSecond) * RATE_HZ);
  let key = null, points = [];
  const flush = () => {
    if (points.length > 1) pen(key, points);
    points = [];
  };
  for (let n = begin; n < Math.min(stop, lead.first + lead.mv.length); n++) {
    const mv = lead.mv[n - lead.first];
    if (mv === null) {
      flush();
      continue;
    }
    const point = [segment.x + (n / RATE_HZ - segment.start) * segment.perSecond, segment.zero - mv * segment.perMv];
    const now = keyOf(n, lead.confidence[n - lead.first]);
    if (now !== key) {
      const last = points.at(-1);
      flush();
      if (last) points.push(last);
      key = now;
    }
    points.push(point);
  }
  flush();
}

export function drawTraces(context, layout, data, { shown, by, colours, width }) {
  context.lineWidth = width;
  context.lineJoin = context.lineCap = "round";
  for (const segment of layout.segments) {
    if (!shown.has(segment.lead)) continue;
    const hand = byHand(data.record.edits, segment.lead);
    const own = colours.leads[LEADS.indexOf(segment.lead)];
    const keyOf = (n, confidence) => (hand[n] ? "hand" : by === "lead" ? "lead" : classOf(confidence));
    runs(segment, data.leads[segment.lead], keyOf, (key, points) => {
      context.strokeStyle = key === "lead" ? own : colours[key];
      context.beginPath();
      points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    });
  }
}

export function drawSheet(context, layout, data, options) {
  const { colours } = options;
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, layout.width, layout.height);
  for (const [step, key, width] of [[1, "grid-fine", 0.08], [5, "grid-coarse", 0.16]]) {
    context.strokeStyle = colours[key];
    context.lineWidth = width;
    context.beginPath();
    for (let x = 0; x <= layout.width; x += step) context.moveTo(x, 0), context.lineTo(x, layout.height);
    for (let y = 0; y <= layout.height; y += step) context.moveTo(0, y), context.lineTo(layout.width, y);
    context.stroke();
  }
  context.strokeStyle = context.fillStyle = colours.ink;
  context.lineWidth = 0.3;
  context.font = "bold 3.4px system-ui, sans-serif";
  for (const segment of layout.segments) {
    context.fillText(segment.lead, segment.x + 1, segment.zero - 10.5);
    if (segment.start > 0) line(context, [[segment.x, segment.zero - 3], [segment.x, segment.zero + 3]]);
  }
  for (const zero of new Set(layout.segments.map((segment) => segment.zero))) {
    const pulse = layout.left - 6;
    line(context, [[pulse - 2, zero], [pulse, zero], [pulse, zero - layout.gain], [pulse + 5, zero - layout.gain],
      [pulse + 5, zero], [layout.left, zero]]);
  }
  context.font = "3px system-ui, sans-serif";
  const rate = data.record.heart_rate_bpm;
  context.fillText(data.record.name + (rate === null ? "" : `   ${Math.round(rate)}/min`), 2, 6);
  context.textAlign = "right";
  context.fillText("25 mm/s   10 mm/mV", layout.width - 2, 6);
  context.textAlign = "left";
  drawTraces(context, layout, data, options);
}

export function line(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.stroke();
}
