// The page: what goes in (files), what comes out (a result in views), and what connects them.

import { Problem, download, getJson, pictureOf, save, sendJson } from "./api.js";
import { LEADS } from "./leads.js";
import { Pages, describe, isOver, stageOf } from "./pages.js";
import { Placement } from "./placement.js";
import { TraceView } from "./traceview.js";

const $ = (id) => document.getElementById(id);
const ADVICE = {
  no_labels_found: "Take the picture nearer, upright and whole, so that the lead names can be read; or place the sheet by hand.",
  alignment_failed: "Check that it is a page of 3 rows of 4 leads and a rhythm row. If it is, place the sheet by hand.",
  grid_not_found: "Take the picture sharper and in even light, without flash; or place the sheet by hand.",
  trace_not_found: "Take the picture closer, sharper, in even light.",
  image_too_small: "Scan at 200 dpi, or photograph the page at full resolution.",
  encrypted_document: "Save the document without its password.",
  not_an_image: "Send a PNG, JPEG, TIFF, BMP, WebP, HEIC or PDF file.",
  corrupt_image: "Copy or save the file again.",
};
const MEASURES = [
  ["heart_rate_bpm", "Heart rate", "/min", 0], ["pr_ms", "PR", "ms", 0], ["qrs_ms", "QRS", "ms", 0], ["qt_ms", "QT", "ms", 0],
  ["qtc_bazett_ms", "QTc Bazett", "ms", 0], ["qtc_fridericia_ms", "QTc Fridericia", "ms", 0],
];
const FORMATS = {
  csv: "CSV: a table, mV at 500 Hz", json: "JSON: outcome, confidence, edits, networks", wfdb: "WFDB: header and data (ZIP)",
  npz: "NumPy", parquet: "Parquet: one row a lead", edf: "EDF+", dicom: "DICOM 12-lead ECG", fhir: "FHIR R4 Observation",
  aecg: "HL7 aECG", pdf: "PDF: a report to print",
};

let job = null; // the page that is chosen
let data = null; // its result
let about = { captions: {} };
const pictures = new Map(); // name -> promise of an ImageBitmap, of the page that is chosen

function alertOf(error) {
  if (!(error instanceof Problem)) throw error;
  const box = document.createElement("p");
  const close = Object.assign(document.createElement("button"), { type: "button", textContent: "Close" });
  close.addEventListener("click", () => box.remove());
  box.append(`${error.title}. ${error.detail} `, close);
  $("alerts").replaceChildren(box);
}

const guarded = (act) => async (...given) => {
  try {
    return await act(...given);
  } catch (error) {
    return alertOf(error);
  }
};

function bitmap(name) {
  if (!pictures.has(name)) pictures.set(name, pictureOf(job.id, name).then((blob) => createImageBitmap(blob)));
  return pictures.get(name);
}

// Views of the result.

const edits = () => data.record.edits.filter((edit) => edit.kind !== "corners");

const correct = guarded(async (list) => {
  const { id } = job;
  const answer = await sendJson(`/v1/jobs/${id}/edits`, "PUT", { edits: list });
  if (job?.id === id) show(answer, { fresh: false });
});
const handlers = { edited: (edit) => correct([...edits(), edit]), undo: () => correct(edits().slice(0, -1)) };
const page = new TraceView($("panel-page"), "page", handlers);
const sheet = new TraceView($("panel-sheet"), "sheet", handlers);
const placement = new Placement(guarded(async (corners) => {
  const before = job.id;
  const again = await sendJson(`/v1/jobs/${before}/corners`, "POST", { corners });
  pages.replace(before, [again]);
  pages.select(again.id);
  pages.wake();
}));

const tabs = [...$("tabs").children];
const panelOf = (tab) => $(tab.getAttribute("aria-controls"));

function openTab(tab, focus = false) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    panelOf(other).hidden = !chosen;
  }
  if (focus) tab.focus();
  opened();
}

// Fill the panel that has become visible.
const opened = guarded(async () => {
  if (!data) return;
  const name = tabs.find((tab) => tab.getAttribute("aria-selected") === "true").id.slice("tab-".length);
  const { id } = job;
  if (name === "page") {
    page.open();
    if (data.pictures.includes("rectified")) page.picture = await bitmap("rectified");
    if (job?.id === id) page.repaint();
  } else if (name === "sheet") {
    sheet.open();
  } else if (name === "place" && data.pictures.includes("photo")) {
    placement.open(null);
    const photo = await bitmap("photo");
    if (job?.id === id) placement.open(photo);
  } else if (name === "stages") {
    await showStages(id);
  }
});

$("tabs").addEventListener("keydown", (event) => {
  const usable = tabs.filter((tab) => !tab.hidden);
  const at = usable.indexOf(document.activeElement);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: usable.length - 1 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  openTab(usable[(to + usable.length) % usable.length], true);
});
for (const tab of tabs) tab.addEventListener("click", () => openTab(tab));

async function showStages(id) {
  if ($("figures").dataset.of === id) return;
  $("figures").dataset.of = id;
  const figures = [];
  for (const name of data.pictures) {
    const figure = document.createElement("figure");
    const image = Object.assign(document.createElement("img"), { alt: about.captions[name] ?? name });
    figure.append(image, Object.assign(document.createElement("figcaption"), { textContent: about.captions[name] ?? name }));
    figures.push([name, figure, image]);
  }
  $("figures").replaceChildren(...figures.map(([, figure]) => figure));
  for (const [name, , image] of figures) {
    const address = URL.createObjectURL(await pictureOf(id, name));
    image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
    image.src = address;
  }
}

function showFiles() {
  const entry = (text, act) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.addEventListener("click", guarded(act));
    const item = document.createElement("li");
    item.append(button);
    return item;
  };
  const { id } = job;
  const entries = data.formats.map((name) => entry(FORMATS[name] ?? name, () => download(id, name)));
  const named = data.record.name;
  for (const [name, text] of [["overlay", "The page with its traces as read (JPEG)"], ["rectified", "The flat page (JPEG)"]]) {
    if (data.pictures.includes(name)) {
      entries.push(entry(text, async () => save(await pictureOf(id, name), `${named}.${name}.jpg`)));
    }
  }
  if (data.record.outcome === "digitized") {
    entries.push(entry("The sheet (PNG)", async () => save(await sheet.toBlob(), `${named}.sheet.png`)));
  }
  entries.unshift(entry("Everything (ZIP)", () => download(id, "all")));
  entries[0].firstChild.classList.add("primary");
  $("downloads").replaceChildren(...entries);
}

const figure = (value, unit, places) => (value === null ? "not measured" : `${value.toFixed(places)} ${unit}`);

// measured: null where nothing could be measured, undefined while that is under way.
function showMeasures(measured) {
  const shown = MEASURES.map(([key, name, unit, places]) => {
    const value = key === "heart_rate_bpm" && measured?.[key] == null ? data.record.heart_rate_bpm : measured?.[key] ?? null;
    return [name, value === null && measured === undefined ? "measuring" : figure(value, unit, places)];
  });
  const rows = (label, value) => [label, value].map((text, i) =>
    Object.assign(document.createElement(i ? "dd" : "dt"), { textContent: text }));
  $("measures").replaceChildren(...shown.slice(0, 4).map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(...rows(name, value));
    return pair;
  }));
  const body = $("measure-table").tBodies[0];
  body.replaceChildren();
  for (const [name, value] of shown) {
    const row = body.insertRow();
    row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
    row.insertCell().textContent = value;
  }
  showLeads(measured);
}

function showLeads(measured) {
  const body = $("lead-table").tBodies[0];
  body.replaceChildren();
  for (const lead of LEADS) {
    const row = body.insertRow();
    row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: lead }));
    const { mv } = data.leads[lead];
    const gaps = mv.filter((value, i) => value === null && mv[i - 1] !== null).length;
    const seconds = data.record.lead_seconds[lead];
    const st = measured?.st_mv?.[lead] ?? null;
    for (const text of [
      seconds ? data.record.lead_confidence[lead].toFixed(2) : "not read", seconds.toFixed(2), String(gaps),
      st !== null ? st.toFixed(3) : measured === undefined ? "measuring" : "not measured",
    ]) row.insertCell().textContent = text;
  }
}

const measure = async () => {
  const { id } = job;
  try {
    const measured = await getJson(`/v1/jobs/${id}/measures`);
    if (job?.id === id) showMeasures(measured);
  } catch (error) {
    if (job?.id === id && data) showMeasures(null);
    // Without the package that measures, the heart rate of the record is all there is.
    if (error.code !== "not_installed") alertOf(error);
  }
};

function show(answer, { fresh }) {
  data = answer;
  const { record } = data;
  const digitized = record.outcome === "digitized";
  $("empty").hidden = true;
  $("working").hidden = true;
  $("shown").hidden = false;
  $("result-title").textContent = record.name;
  $("measures").hidden = !digitized;
  $("refusal").hidden = digitized;
  if (!digitized) {
    $("refusal").replaceChildren(...record.reasons.flatMap(({ code, detail }) => [
      Object.assign(document.createElement("p"), { className: "what", textContent: `Refused: ${detail}` }),
      Object.assign(document.createElement("p"), { textContent: ADVICE[code] ?? "" }),
      Object.assign(document.createElement("p"), { className: "hint", textContent: `Reason code: ${code}` }),
    ]));
  }
  const here = {
    page: digitized, sheet: digitized, numbers: digitized, place: data.pictures.includes("photo"),
    stages: data.pictures.length > 0, files: true,
  };
  for (const tab of tabs) tab.hidden = !here[tab.id.slice("tab-".length)];
  $("details").textContent = JSON.stringify(record, null, 2);
  for (const view of [page, sheet]) view.show(data, { fresh });
  if (fresh) {
    placement.show(data);
    $("figures").dataset.of = "";
  }
  showFiles();
  if (digitized) {
    showMeasures(undefined);
    measure();
  }
  const present = tabs.find((tab) => tab.getAttribute("aria-selected") === "true" && !tab.hidden);
  if (fresh || !present) openTab(digitized ? tabs[0] : tabs.find((tab) => !tab.hidden)); else opened();
}

const load = guarded(async (wanted) => {
  const answer = await getJson(`/v1/jobs/${wanted.id}/result`);
  if (job?.id === wanted.id) show(answer, { fresh: true });
});

function progress() {
  $("working").hidden = false;
  $("shown").hidden = $("empty").hidden = true;
  $("result-title").textContent = job.name;
  const text = Object.assign(document.createElement("p"), { textContent: describe(job) });
  const bar = Object.assign(document.createElement("progress"), { max: 7, value: Math.max(0, stageOf(job).number - 0.5) });
  bar.setAttribute("aria-label", "Progress");
  if (job.state === "failed") $("working").replaceChildren(text);
  else $("working").replaceChildren(text, bar);
}

function choose(chosen, byHand = false) {
  job = chosen;
  data = null;
  pictures.clear();
  if (!job) {
    $("working").hidden = $("shown").hidden = true;
    $("empty").hidden = false;
    $("result-title").textContent = "Result";
    return;
  }
  if (job.state === "done") load(job); else progress();
  if (byHand) $("result").focus({ preventScroll: false });
}

const pages = new Pages({
  chosen: choose,
  changed: (now) => {
    const over = isOver(job ?? now);
    job = now;
    if (!isOver(now) || now.state === "failed") progress();
    else if (!over || !data) load(now);
  },
  alert: alertOf,
});

// What goes in.

$("choose").addEventListener("click", () => $("files").click());
$("photograph").addEventListener("click", () => $("camera").click());
for (const input of [$("files"), $("camera")]) {
  input.addEventListener("change", () => {
    pages.add(input.files);
    input.value = "";
  });
}

document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) {
    event.preventDefault();
    pages.add(files);
  }
});

const carriesFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  $("dropping").hidden = false;
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("dropping").hidden = true;
});
document.addEventListener("drop", (event) => {
  $("dropping").hidden = true;
  if (!carriesFiles(event)) return;
  event.preventDefault();
  pages.add(event.dataTransfer.files);
});

// Light and dark.

const THEMES = { auto: ["Auto", "as the system's"], light: ["Light", "light"], dark: ["Dark", "dark"] };
function setTheme(name) {
  const [text, says] = THEMES[name];
  $("theme").textContent = text;
  $("theme").setAttribute("aria-label", `Colours: ${says}`);
  if (name === "auto") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = name;
  localStorage.setItem("cardioscan-theme", name);
  for (const view of [page, sheet]) view.repaint();
}
$("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => [page, sheet].forEach((view) => view.repaint()));
setTheme(THEMES[localStorage.getItem("cardioscan-theme")] ? localStorage.getItem("cardioscan-theme") : "auto");

guarded(async () => {
  about = await getJson("/v1/about");
  const minutes = Math.round(about.keep_s / 60);
  $("limits").textContent =
    `At most ${Math.round(about.max_bytes / 2 ** 20)} MiB and ${Math.round(about.max_pixels / 1e6)} million px a page. ` +
    `Pages stay in memory and are forgotten ${minutes} minutes after their last use.`;
})();
