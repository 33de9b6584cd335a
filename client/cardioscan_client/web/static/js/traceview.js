// A panel with traces: toolbar, leads on and off, canvas, read-out. The flat page and the sheet are both such panels.

import { CLASSES, LEADS, drawSheet, drawTraces, pageLayout, palette, sheetLayout } from "./leads.js";
import { Caliper, Erase, Redraw } from "./tools.js";
import { Viewport, zoomButtons } from "./viewport.js";

const CSS_PX_PER_MM = 96 / 25.4;
const HINTS = {
  move: "Drag, or arrow keys, to move; plus and minus, or two fingers, to zoom.",
  caliper: "Drag from one point to another. With keys: arrows, then Enter at each end.",
  redraw: "Draw the trace as it should be, from left to right. With keys: Enter for each point, Shift and Enter for the last.",
  erase: "Drag over what cannot be read. With keys: Enter at the start, Shift and Enter at the end.",
};

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function choices(label, options, value, change) {
  const select = element("select", {}, ...options.map(([key, text]) => element("option", { value: key, textContent: text })));
  select.value = value;
  select.addEventListener("change", () => change(select.value));
  return element("label", {}, `${label} `, select);
}

export class TraceView {
  // kind: "page" (over the flat page) or "sheet" (on a clean grid); edited(edit) is told of a correction, undo() takes one back.
  constructor(panel, kind, { edited, undo }) {
    Object.assign(this, { panel, kind, edited, undo, shown: new Set(LEADS), by: "confidence", mode: "move", forced: "" });
    this.build();
  }

  build() {
    const tools = ["move", "caliper", "redraw", "erase"].map((mode) => {
      const text = { move: "Move", caliper: "Caliper", redraw: "Redraw", erase: "Erase" }[mode];
      const button = element("button", { type: "button", textContent: text });
      button.dataset.mode = mode;
      button.addEventListener("click", () => this.choose(mode));
      return button;
    });
    const group = element("div", { className: "group", role: "group" }, ...tools);
    group.setAttribute("aria-label", "Tool");
    const real = ["1:1", "True size on most screens", (view) => view.zoomTo(CSS_PX_PER_MM)];
    const zoom = element("span", { className: "zoom" }, ...zoomButtons(() => this.view, this.kind === "sheet" ? [real] : []));
    const by = choices("Colour", [["confidence", "by confidence"], ["lead", "by lead"]], this.by, (value) => {
      this.by = value;
      this.legend.hidden = value === "lead";
      this.repaint();
    });
    const background = choices("Behind", [["photo", "the page"], ["pale", "the page, pale"], ["none", "nothing"]], "photo",
      (value) => {
        this.behind = value;
        this.repaint();
      });
    const lead = choices("Lead", [["", "where I draw"], ...LEADS.map((name) => [name, name])], "", (value) => (this.forced = value));
    this.leadChoice = lead;
    this.undoButton = element("button", { type: "button", textContent: "Undo", disabled: true });
    this.undoButton.addEventListener("click", () => this.undo());
    const bar = element("div", { className: "row toolbar" }, group, lead, this.undoButton, by);
    if (this.kind === "page") bar.append(background);
    bar.append(zoom);

    this.chips = element("div", { className: "chips", role: "group" });
    this.chips.setAttribute("aria-label", "Leads shown");
    const all = element("button", { type: "button", textContent: "All or none" });
    all.addEventListener("click", () => {
      this.shown = this.shown.size === LEADS.length ? new Set() : new Set(LEADS);
      this.repaint();
    });
    for (const name of LEADS) {
      const chip = element("button", { type: "button", textContent: name });
      chip.dataset.lead = name;
      chip.addEventListener("click", () => {
        if (!this.shown.delete(name)) this.shown.add(name);
        this.repaint();
      });
      this.chips.append(chip);
    }
    this.chips.append(all);

    this.canvas = element("canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "img");
    this.hint = element("p", { className: "hint" });
    this.readout = element("p", { className: "readout" });
    this.readout.setAttribute("role", "status");
    const kinds = CLASSES.map((kind) => element("li", {}, element("span", { className: `swatch ${kind.id}` }), kind.says));
    this.legend = element("ul", { className: "legend" }, ...kinds);
    this.legend.setAttribute("aria-label", "Colours: confidence");
    this.panel.replaceChildren(bar, this.chips, element("div", { className: `stage ${this.kind}` }, this.canvas), this.readout,
      this.legend, this.hint);
    this.behind = "photo";
    this.choose("move");
  }

  get layout() {
    return this.current;
  }

  choose(mode) {
    this.mode = mode;
    for (const button of this.panel.querySelectorAll("[data-mode]")) {
      button.setAttribute("aria-pressed", String(button.dataset.mode === mode));
    }
    this.hint.textContent = HINTS[mode];
    this.leadChoice.hidden = mode !== "redraw" && mode !== "erase";
    this.canvas.dataset.tool = mode;
    this.say("");
    if (this.current) this.equip();
    this.repaint();
  }

  equip() {
    const host = {
      layout: this.current, say: (text) => this.say(text), repaint: () => this.repaint(),
      show: (x, y) => this.view?.show(x, y), lead: () => this.forced || null,
    };
    const tools = {
      move: () => null, caliper: () => new Caliper(host), redraw: () => new Redraw(host, this.edited),
      erase: () => new Erase(host, this.edited),
    };
    this.tool = tools[this.mode]();
    if (this.view) this.view.tool = this.tool;
  }

  say(text) {
    this.readout.textContent = text;
  }

  // data: the result; picture: the flat page for `page`, may come later.
  show(data, { fresh }) {
    this.data = data;
    if (fresh) {
      this.current = this.kind === "page" ? pageLayout(data.page) : sheetLayout(data.page, data.leads);
      this.picture = null;
      this.view?.close();
      this.view = null;
      this.say("");
    }
    const { record } = data;
    const corrected = record.edits.filter((edit) => edit.kind !== "corners").length;
    this.undoButton.disabled = corrected === 0;
    this.undoButton.textContent = corrected ? `Undo (${corrected})` : "Undo";
    const what = this.kind === "page" ? "The flat page with the traces drawn over it" : "The twelve leads at 25 mm/s and 10 mm/mV";
    this.canvas.setAttribute("aria-label", `${what}. The tab Numbers has the same in words.`);
    this.equip();
    this.repaint();
  }

  // Called when the panel has become visible: a canvas without size cannot be fitted.
  open() {
    if (!this.data) return;
    if (!this.view) {
      const { width, height } = this.current;
      this.view = new Viewport(this.canvas, { width, height, draw: (context, view) => this.draw(context, view), tool: this.tool });
    }
    this.repaint();
  }

  repaint() {
    for (const chip of this.chips.querySelectorAll("[data-lead]")) {
      chip.setAttribute("aria-pressed", String(this.shown.has(chip.dataset.lead)));
    }
    this.view?.repaint();
  }

  draw(context, view) {
    const colours = palette(this.panel);
    const unit = 1 / view.scale; // one px of the screen
    const { data, current: layout } = this;
    const options = { shown: this.shown, by: this.by, colours };
    if (this.kind === "sheet") {
      drawSheet(context, layout, data, { ...options, width: Math.max(0.35, 1.2 * unit) });
    } else {
      context.fillStyle = colours.paper;
      context.fillRect(0, 0, layout.width, layout.height);
      if (this.picture && this.behind !== "none") {
        context.globalAlpha = this.behind === "pale" ? 0.35 : 1;
        context.drawImage(this.picture, 0, 0, layout.width, layout.height);
        context.globalAlpha = 1;
      }
      drawTraces(context, layout, data, { ...options, width: Math.max(1.6, 1.4 * unit) });
    }
    this.tool?.draw(context, unit, colours);
  }

  // The sheet as a picture, 12 px for a millimetre (300 dpi), on light paper always.
  async toBlob() {
    const canvas = document.createElement("canvas");
    const layout = sheetLayout(this.data.page, this.data.leads);
    [canvas.width, canvas.height] = [Math.round(layout.width * 12), Math.round(layout.height * 12)];
    const context = canvas.getContext("2d");
    context.scale(12, 12);
    const colours = palette(document.getElementById("panel-page"));
    drawSheet(context, layout, this.data, { shown: new Set(LEADS), by: this.by, colours, width: 0.35 });
    return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }
}
