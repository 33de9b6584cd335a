// Placing the sheet by hand: four corners and the lead names, as marks over the photo that can be dragged.

import { homography, isConvex, project } from "./geometry.js";
import { colour } from "./leads.js";
import { Viewport, zoomButtons } from "./viewport.js";

const CORNERS = ["Upper left corner", "Upper right corner", "Lower right corner", "Lower left corner"];
const LOOSE = 0.02; // weight of the corners beside lead names that were dragged

export class Placement {
  constructor(run) {
    this.stage = document.getElementById("place-stage");
    this.canvas = document.getElementById("place-canvas");
    this.runButton = document.getElementById("place-run");
    document.getElementById("place-zoom").append(...zoomButtons(() => this.view));
    this.runButton.addEventListener("click", () => run(this.corners.map(([x, y]) => [round(x), round(y)])));
    document.getElementById("place-turn").addEventListener("click", () => {
      this.corners = [...this.corners.slice(1), this.corners[0]];
      this.pinned.clear();
      this.update();
    });
    document.getElementById("place-reset").addEventListener("click", () => this.reset());
  }

  show(data) {
    this.data = data;
    this.view?.close();
    this.view = null;
    this.picture = null;
    const { width, height } = data.page;
    this.sheet = [[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]];
    for (const mark of this.stage.querySelectorAll(".mark")) mark.remove();
    if (!data.geometry.corners) return;
    this.marks = [
      ...CORNERS.map((name, index) => this.mark("corner", name, "", (to) => this.moveCorner(index, to))),
      ...data.page.names.map(({ name, rhythm }, index) =>
        this.mark("label", `Lead name ${name}${rhythm ? " of the rhythm row" : ""}`, name,
          (to) => this.moveLabel(index, to))),
    ];
    this.stage.append(...this.marks);
    this.reset();
  }

  reset() {
    this.corners = this.data.geometry.corners.map((point) => [...point]);
    this.pinned = new Map();
    this.update();
  }

  open(picture) {
    if (!this.data?.geometry.corners) return;
    this.picture = picture ?? this.picture;
    if (!this.view) {
      const { width, height } = this.data.geometry;
      const margin = 0.03 * Math.max(width, height);
      const draw = (context) => this.draw(context);
      this.view = new Viewport(this.canvas, { width, height, margin, draw, changed: () => this.lay() });
    }
    this.update();
  }

  mark(kind, name, text, move) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `mark ${kind}`;
    button.textContent = text;
    button.setAttribute("aria-label", name);
    button.title = name;
    const at = () => this.points[this.marks.indexOf(button)];
    let held = null;
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      button.focus({ preventScroll: true });
      button.setPointerCapture(event.pointerId);
      const [x, y] = this.view.toWorld(event);
      held = [at()[0] - x, at()[1] - y];
    });
    button.addEventListener("pointermove", (event) => {
      if (!held) return;
      const [x, y] = this.view.toWorld(event);
      move([x + held[0], y + held[1]]);
    });
    const drop = () => (held = null);
    button.addEventListener("pointerup", drop);
    button.addEventListener("pointercancel", drop);
    button.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (!moves[event.key]) return;
      event.preventDefault();
      const step = (event.shiftKey ? 20 : 2) / this.view.scale;
      const [x, y] = at();
      const to = [x + moves[event.key][0] * step, y + moves[event.key][1] * step];
      this.view.show(...to);
      move(to);
    });
    return button;
  }

  moveCorner(index, to) {
    this.corners[index] = to;
    this.pinned.clear();
    this.update();
  }

  // The sheet follows the lead names that were dragged; where they leave it free, it stays.
  moveLabel(index, to) {
    this.pinned.set(index, to);
    const before = this.data.page.names;
    const fixed = [...this.pinned];
    const from = [...fixed.map(([i]) => [before[i].x, before[i].y]), ...this.sheet];
    const towards = [...fixed.map(([, point]) => point), ...this.corners];
    const weights = [...fixed.map(() => 1), ...this.sheet.map(() => LOOSE)];
    const h = homography(from, towards, weights);
    const corners = this.sheet.map((point) => project(h, point));
    if (corners.flat().every(Number.isFinite) && isConvex(corners)) this.corners = corners;
    this.update();
  }

  update() {
    this.h = homography(this.sheet, this.corners);
    const labels = this.data.page.names.map(({ x, y }) => project(this.h, [x, y]));
    this.points = [...this.corners, ...labels];
    this.runButton.disabled = !isConvex(this.corners);
    this.view?.repaint();
  }

  // Put the marks where their points are on the screen.
  lay() {
    this.marks.forEach((mark, index) => {
      const [x, y] = this.view.toCanvas(this.points[index]);
      mark.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
      mark.classList.toggle("pinned", this.pinned.has(index - CORNERS.length));
      const inside = x >= 0 && y >= 0 && x <= this.canvas.clientWidth && y <= this.canvas.clientHeight;
      mark.classList.toggle("outside", !inside);
    });
  }

  draw(context) {
    const { width, height } = this.data.geometry;
    const unit = 1 / this.view.scale;
    context.fillStyle = colour("grid-fine");
    context.fillRect(0, 0, width, height);
    if (this.picture) context.drawImage(this.picture, 0, 0, width, height);
    const { page } = this.data;
    const stroke = (from, to) => {
      context.moveTo(...project(this.h, from));
      context.lineTo(...project(this.h, to));
    };
    context.lineWidth = unit;
    context.strokeStyle = "rgba(0, 90, 200, 0.35)";
    context.beginPath();
    for (let x = page.x0; x <= page.width; x += page.pitch) stroke([x, 0], [x, page.height - 1]);
    for (let y = page.y0; y <= page.height; y += page.pitch) stroke([0, y], [page.width - 1, y]);
    context.stroke();
    context.lineWidth = 2.5 * unit;
    context.strokeStyle = "#0063b8";
    context.beginPath();
    this.sheet.forEach((point, i) => stroke(point, this.sheet[(i + 1) % 4]));
    context.stroke();
  }
}

const round = (value) => Math.round(value * 100) / 100;
