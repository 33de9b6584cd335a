// A canvas that shows part of a world: zoom and pan by wheel, fingers, mouse and keys. Tools take over when they want to.

const MOST = 40; // times the size at which all is shown
const STEP = 1.25;

export class Viewport {
  // draw(context, viewport) paints in world coordinates; `tool` may handle down, move, up (world points) and key (event).
  // `margin` is shown around the world when all is shown.
  constructor(canvas, { width, height, margin = 0, draw, tool = null, changed = () => {} }) {
    Object.assign(this, { canvas, width, height, margin, draw, tool, changed });
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.pointers = new Map();
    this.stop = new AbortController();
    const on = (name, handle, options = {}) =>
      canvas.addEventListener(name, handle.bind(this), { ...options, signal: this.stop.signal });
    on("pointerdown", this.down);
    on("pointermove", this.move);
    on("pointerup", this.up);
    on("pointercancel", this.up);
    on("wheel", this.wheel, { passive: false });
    on("keydown", this.key);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
    this.resize();
    this.fit();
  }

  close() {
    this.stop.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
  }

  get fitting() {
    const { clientWidth, clientHeight } = this.canvas;
    return Math.min(clientWidth / (this.width + 2 * this.margin), clientHeight / (this.height + 2 * this.margin)) || 1;
  }

  resize() {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const fitted = this.fitted;
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    if (fitted) this.fit(); else this.repaint();
  }

  fit() {
    this.scale = this.fitting;
    this.x = (this.width - this.canvas.clientWidth / this.scale) / 2;
    this.y = (this.height - this.canvas.clientHeight / this.scale) / 2;
    this.fitted = true;
    this.repaint();
  }

  // Zoom so that the world point under canvas px (cx, cy) stays where it is.
  zoom(factor, cx = this.canvas.clientWidth / 2, cy = this.canvas.clientHeight / 2) {
    const scale = Math.min(Math.max(this.scale * factor, this.fitting), this.fitting * MOST);
    this.x += cx / this.scale - cx / scale;
    this.y += cy / this.scale - cy / scale;
    this.scale = scale;
    this.fitted = false;
    if (scale <= this.fitting * 1.0001) this.fit(); else this.settle();
  }

  zoomTo(scale) {
    this.zoom(scale / this.scale);
  }

  pan(dx, dy) {
    this.x -= dx / this.scale;
    this.y -= dy / this.scale;
    this.settle();
  }

  // Keep the world in sight.
  settle() {
    const [w, h] = [this.canvas.clientWidth / this.scale, this.canvas.clientHeight / this.scale];
    const within = (at, seen, size) =>
      seen >= size + 2 * this.margin ? (size - seen) / 2 : Math.min(Math.max(at, -this.margin), size + this.margin - seen);
    this.x = within(this.x, w, this.width);
    this.y = within(this.y, h, this.height);
    this.repaint();
  }

  show(x, y) {
    const [w, h] = [this.canvas.clientWidth / this.scale, this.canvas.clientHeight / this.scale];
    if (x < this.x || x > this.x + w) this.x = x - w / 2;
    if (y < this.y || y > this.y + h) this.y = y - h / 2;
    this.settle();
  }

  toWorld(event) {
    const box = this.canvas.getBoundingClientRect();
    return [this.x + (event.clientX - box.left) / this.scale, this.y + (event.clientY - box.top) / this.scale];
  }

  toCanvas([x, y]) {
    return [(x - this.x) * this.scale, (y - this.y) * this.scale];
  }

  repaint() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.paint());
  }

  paint() {
    const ratio = window.devicePixelRatio || 1;
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const k = this.scale * ratio;
    context.setTransform(k, 0, 0, k, -this.x * k, -this.y * k);
    this.draw(context, this);
    // One finger scrolls the document as long as all is shown and no tool wants it.
    this.canvas.style.touchAction = this.fitted && !this.tool ? "pan-y" : "none";
    this.changed(this);
  }

  down(event) {
    if (event.button > 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size === 1 && this.tool) this.tool.down(this.toWorld(event), event);
    if (this.pointers.size === 2) this.tool?.cancel?.();
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.tool?.hover?.(this.toWorld(event));
      return;
    }
    const now = [event.clientX, event.clientY];
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
      const apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
      const box = this.canvas.getBoundingClientRect();
      const middle = [(now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top];
      this.zoom(apart(now, other) / apart(before, other), ...middle);
      this.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    } else if (this.tool) {
      this.tool.move(this.toWorld(event), event);
    } else {
      this.pan(now[0] - before[0], now[1] - before[1]);
    }
    this.pointers.set(event.pointerId, now);
  }

  up(event) {
    const alone = this.pointers.size === 1;
    if (this.pointers.delete(event.pointerId) && alone && this.tool) {
      if (event.type === "pointerup") this.tool.up(this.toWorld(event)); else this.tool.cancel?.();
    }
  }

  wheel(event) {
    // The wheel scrolls the document unless the canvas was chosen first or a pinch on a touchpad is meant.
    if (!event.ctrlKey && document.activeElement !== this.canvas) return;
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    this.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), event.clientX - box.left, event.clientY - box.top);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.tool?.key?.(event)) {
      event.preventDefault();
      return;
    }
    const step = event.shiftKey ? 200 : 40;
    const actions = {
      "+": () => this.zoom(STEP), "=": () => this.zoom(STEP), "-": () => this.zoom(1 / STEP), 0: () => this.fit(),
      ArrowLeft: () => this.pan(step, 0), ArrowRight: () => this.pan(-step, 0),
      ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }
}

// Buttons to zoom a viewport that may be made anew: `get` returns the present one.
export function zoomButtons(get, extra = []) {
  const buttons = [
    ["\u2212", "Zoom out", (view) => view.zoom(1 / STEP)], ["+", "Zoom in", (view) => view.zoom(STEP)],
    ["Fit", "Show all", (view) => view.fit()], ...extra,
  ];
  return buttons.map(([text, label, act]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.title = label;
    button.setAttribute("aria-label", label);
    button.addEventListener("click", () => get() && act(get()));
    return button;
  });
}
