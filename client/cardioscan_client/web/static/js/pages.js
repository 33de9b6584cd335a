// The list of pages: sending files, following their jobs, choosing one.

import { Problem, call, getJson, upload } from "./api.js";

const KEPT = "cardioscan-jobs";
const AT_ONCE = 3; // uploads
const WAIT_S = 20;

const STAGES = [
  ["read", "Reading the picture"], ["alignment", "Looking for the lead names"],
  ["rectification", "Flattening the paper"], ["layout", "What is printed where"],
  ["waveform", "Finding and following the traces"], ["source_classifier", "What kind of picture it is"],
  ["signal", "Millivolts and heart rate"],
];
const DETAILS = { label_detector: "alignment", grid_rectifier: "rectification", waveform_extractor: "waveform" };

export const isOver = (job) => job.state === "done" || job.state === "failed";

// How far a job is: the number of the stage that runs, from 1, and its name.
export function stageOf(job) {
  const reached = job.stages.map((name) => STAGES.findIndex(([key]) => key === (DETAILS[name] ?? name)));
  const index = Math.max(-1, ...reached);
  return { number: index + 1, of: STAGES.length, text: index < 0 ? "Beginning" : STAGES[index][1] };
}

export function describe(job) {
  if (job.state === "sending") return "Sending";
  if (job.state === "waiting") return "Waiting for its turn";
  if (job.state === "working") return `${stageOf(job).text} (${stageOf(job).number} of ${stageOf(job).of})`;
  if (job.state === "failed") return `${job.problem.title}. ${job.problem.detail}`;
  if (job.outcome === "refused") return `Refused: ${job.reasons.map((reason) => reason.detail).join(" ")}`;
  return `Digitized in ${job.seconds.toFixed(1)} s`;
}

export class Pages {
  // chosen(job) is told of the page to show, changed(job) of news about it.
  constructor({ chosen, changed, alert }) {
    Object.assign(this, { chosen, changed, alert });
    this.list = document.getElementById("jobs");
    this.status = document.getElementById("status");
    this.jobs = new Map();
    this.selected = null;
    this.version = -1;
    this.queue = [];
    this.sending = 0;
    this.restore();
    this.watch();
  }

  async restore() {
    let ids = [];
    try {
      ids = JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
    } catch {
      sessionStorage.removeItem(KEPT);
    }
    if (!ids.length) return;
    const { jobs } = await getJson(`/v1/jobs?ids=${ids.join(",")}`);
    jobs.sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id)).forEach((job) => this.put(job));
    this.remember();
    const first = jobs.find(isOver);
    if (first && !this.selected) this.select(first.id);
    this.wake();
  }

  remember() {
    const ids = [...this.jobs.values()].filter((job) => !job.local).map((job) => job.id);
    sessionStorage.setItem(KEPT, JSON.stringify(ids));
  }

  add(files) {
    for (const file of files) {
      const id = `local-${crypto.getRandomValues(new Uint32Array(1))[0]}-${this.jobs.size}`;
      this.put({ id, local: true, name: file.name || "page", state: "sending", stages: [], n_pages: 1, page: 1 });
      this.queue.push([id, file]);
    }
    this.send();
  }

  async send() {
    if (this.sending >= AT_ONCE || !this.queue.length) return;
    this.sending++;
    const [id, file] = this.queue.shift();
    this.send();
    try {
      const made = await this.patient(() => upload(file));
      const wasSelected = this.selected === id;
      this.replace(id, made);
      if (wasSelected || !this.selected) this.select(made[0].id);
      this.wake();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.put({ ...this.jobs.get(id), state: "failed", problem: error });
      if (!this.selected) this.select(id);
    } finally {
      this.sending--;
      this.summarize();
      this.send();
    }
  }

  // A server without room says when to come again.
  async patient(send) {
    for (;;) {
      try {
        return await send();
      } catch (error) {
        if (error.status !== 503) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * (error.retryAfter || 5)));
      }
    }
  }

  // A page digitized again takes the place of the one before.
  replace(id, made) {
    const entries = [...this.jobs].flatMap(([key, job]) => (key === id ? made.map((one) => [one.id, one]) : [[key, job]]));
    this.jobs = new Map(entries);
    const old = this.item(id);
    for (const job of made) this.render(job, old);
    old?.remove();
    this.remember();
  }

  put(job) {
    const before = this.jobs.get(job.id);
    this.jobs.set(job.id, job);
    this.render(job);
    if (job.id === this.selected) this.changed(job);
    if (isOver(job) && before && !isOver(before)) {
      this.status.textContent = `${job.name}: ${describe(job)}`;
      // The first one that is done is shown, unless somebody has chosen another.
      const waits = !isOver(this.jobs.get(this.selected) ?? job) && !this.chosenByHand;
      if (!this.selected || waits) this.select(job.id);
    }
    this.summarize();
  }

  summarize() {
    const all = [...this.jobs.values()];
    const open = all.filter((job) => !isOver(job)).length;
    document.title = open ? `(${all.length - open} of ${all.length}) CardioScan` : "CardioScan";
    this.list.dataset.open = String(open);
  }

  item(id) {
    return this.list.querySelector(`[data-id="${CSS.escape(id)}"]`);
  }

  render(job, before = null) {
    let item = this.item(job.id);
    if (!item) {
      item = document.createElement("li");
      item.dataset.id = job.id;
      item.innerHTML = `<button type="button" class="job"><span class="name"></span><span class="state"></span>
        <progress max="7"></progress></button><button type="button" class="forget" title="Forget this page">&times;</button>`;
      item.querySelector(".job").addEventListener("click", () => this.select(item.dataset.id, true));
      item.querySelector(".forget").addEventListener("click", () => this.forget(item.dataset.id));
      if (before) before.before(item); else this.list.append(item);
    }
    const kind = job.state === "done" ? job.outcome : job.state;
    item.className = kind;
    item.querySelector(".name").textContent = job.name;
    item.querySelector(".state").textContent = describe(job);
    item.querySelector(".forget").setAttribute("aria-label", `Forget ${job.name}`);
    const bar = item.querySelector("progress");
    bar.hidden = isOver(job);
    bar.setAttribute("aria-label", `${job.name}: progress`);
    if (job.state === "working") bar.value = stageOf(job).number - 0.5; else bar.value = 0;
    item.querySelector(".job").setAttribute("aria-current", String(job.id === this.selected));
  }

  select(id, byHand = false) {
    const before = this.selected;
    this.selected = id;
    this.chosenByHand = byHand;
    for (const key of [before, id]) if (this.jobs.has(key)) this.render(this.jobs.get(key));
    if (this.jobs.has(id)) this.chosen(this.jobs.get(id), byHand);
  }

  async forget(id) {
    const job = this.jobs.get(id);
    this.drop(id);
    if (!job.local) {
      try {
        await call(`/v1/jobs/${id}`, { method: "DELETE" });
      } catch (error) {
        this.alert(error);
      }
    }
  }

  drop(id) {
    this.jobs.delete(id);
    this.queue = this.queue.filter(([key]) => key !== id);
    const item = this.item(id);
    const next = item?.nextElementSibling ?? item?.previousElementSibling;
    item?.remove();
    this.remember();
    this.summarize();
    if (this.selected !== id) return;
    this.selected = null;
    if (next) {
      this.select(next.dataset.id);
      next.querySelector(".job").focus();
    } else {
      this.chosen(null);
      document.getElementById("choose").focus();
    }
  }

  wake() {
    this.version = -1;
    this.asked?.abort();
    this.rouse?.();
  }

  // Follow all open jobs with one request that waits for news.
  async watch() {
    for (;;) {
      const open = [...this.jobs.values()].filter((job) => !job.local && !isOver(job)).map((job) => job.id);
      if (!open.length) {
        await new Promise((resolve) => (this.rouse = resolve));
        continue;
      }
      this.asked = new AbortController();
      try {
        const { signal } = this.asked;
        const news = await getJson(`/v1/jobs?ids=${open.join(",")}&since=${this.version}&wait=${WAIT_S}`, { signal });
        this.version = news.version;
        for (const job of news.jobs) if (this.jobs.has(job.id)) this.put(job);
        for (const id of news.gone) if (this.jobs.has(id)) this.lose(id);
      } catch (error) {
        if (error.name === "AbortError") continue;
        this.alert(error);
        await new Promise((resolve) => setTimeout(resolve, 3000));
      }
    }
  }

  lose(id) {
    const problem = { title: "Forgotten", detail: "The server holds this page no more. Send it again." };
    this.put({ ...this.jobs.get(id), state: "failed", problem });
  }
}
