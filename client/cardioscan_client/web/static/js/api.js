// Requests to the server. Errors come as problem documents: each has a code and a sentence that says what to do.

export class Problem extends Error {
  constructor({ code = "error", title = "Something went wrong", detail = "", status = 0 }, retryAfter = 0) {
    super(detail || title);
    Object.assign(this, { code, title, detail, status, retryAfter });
  }
}

const TOKEN = "cardioscan-token";
let token = sessionStorage.getItem(TOKEN) ?? "";
let asking = null;

function askForToken() {
  // Several requests may be turned away at once; one dialog serves them all.
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById("token-dialog");
    const field = document.getElementById("token");
    field.value = "";
    dialog.addEventListener("close", () => {
      token = field.value;
      sessionStorage.setItem(TOKEN, token);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export async function call(path, options = {}) {
  for (;;) {
    const headers = new Headers(options.headers);
    const sent = token;
    if (sent) headers.set("authorization", `Bearer ${sent}`);
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem({
        code: "unreachable", title: "The server does not answer",
        detail: "Is it still running, and is this machine connected to it?",
      });
    }
    if (response.status === 401) {
      if (sent === token) await askForToken();
      continue;
    }
    if (response.ok) return response;
    const kind = response.headers.get("content-type") ?? "";
    const document = kind.includes("json") ? await response.json() : { title: response.statusText };
    throw new Problem({ ...document, status: response.status }, Number(response.headers.get("retry-after")) || 0);
  }
}

export const getJson = async (path, options) => (await call(path, options)).json();

export const sendJson = (path, method, body) =>
  getJson(path, { method, body: JSON.stringify(body), headers: { "content-type": "application/json" } });

export async function upload(file) {
  const headers = { "content-type": "application/octet-stream", "x-file-name": encodeURIComponent(file.name || "page") };
  return (await getJson("/v1/jobs", { method: "POST", body: file, headers })).jobs;
}

export const pictureOf = async (id, name) => (await call(`/v1/jobs/${id}/pictures/${name}`)).blob();

export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export async function download(id, format) {
  const response = await call(`/v1/jobs/${id}/files/${format}`);
  const named = /filename\*=UTF-8''([^;]+)/.exec(response.headers.get("content-disposition") ?? "");
  save(await response.blob(), named ? decodeURIComponent(named[1]) : format);
}
