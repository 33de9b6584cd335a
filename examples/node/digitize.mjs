// Digitizes one page on a Triton server and prints its record (the content of page.json).
//
//   npm ci
//   node digitize.mjs localhost:8001 page.jpg --csv page.csv
//   node digitize.mjs localhost:8001 report.pdf --page 2
//
// Exit status: 0 the page was digitized, 1 it was refused (the record says why), 2 there was no answer.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
const SAMPLES = 5000;
const SAMPLING_RATE_HZ = 500;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    page: { type: "string", default: "1" }, // from 1, as people count; the server counts from 0
    profile: { type: "string" }, // fast, balanced or accurate; without it the server decides
    csv: { type: "string" },
    timeout: { type: "string", default: "120" }, // seconds
  },
});
if (positionals.length !== 2) {
  console.error("usage: node digitize.mjs HOST:PORT FILE [--page N] [--profile NAME] [--csv FILE] [--timeout SECONDS]");
  process.exit(2);
}
const [address, file] = positionals;

const definition = protoLoader.loadSync(fileURLToPath(new URL("kserve.proto", import.meta.url)), { keepCase: true });
const { inference } = grpc.loadPackageDefinition(definition);
const client = new inference.GRPCInferenceService(address, grpc.credentials.createInsecure());

function digitize(image) {
  const request = {
    model_name: "ecg_digitizer",
    model_version: "1",
    parameters: {
      page: { int64_param: Number(options.page) - 1 },
      ...(options.profile && { profile: { string_param: options.profile } }),
      timeout: { int64_param: Number(options.timeout) * 900_000 }, // microseconds; nine tenths, so that a "no" arrives
    },
    inputs: [{ name: "image", datatype: "UINT8", shape: [image.length] }],
    raw_input_contents: [image],
  };
  const deadline = Date.now() + Number(options.timeout) * 1000;
  return new Promise((resolve, reject) => {
    client.ModelInfer(request, { deadline }, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

// The bytes of each output by name: float32 little endian, or UTF-8 text.
function outputsOf(response) {
  return Object.fromEntries(response.outputs.map((tensor, i) => [tensor.name, response.raw_output_contents[i]]));
}

function csvOf(signals) {
  const view = new DataView(signals.buffer, signals.byteOffset, signals.byteLength);
  const field = (lead, sample) => {
    const millivolts = view.getFloat32(4 * (lead * SAMPLES + sample), true);
    return Number.isNaN(millivolts) ? "" : millivolts.toFixed(4); // empty: not printed, or not readable
  };
  const rows = Array.from({ length: SAMPLES }, (_, sample) =>
    [(sample / SAMPLING_RATE_HZ).toFixed(3), ...LEADS.map((_, lead) => field(lead, sample))].join(","),
  );
  return [["time_s", ...LEADS].join(","), ...rows, ""].join("\n");
}

try {
  const outputs = outputsOf(await digitize(readFileSync(file)));
  const digitized = outputs.outcome.toString() === "digitized";
  console.log(outputs.record.toString());
  if (digitized && options.csv) writeFileSync(options.csv, csvOf(outputs.signals));
  process.exitCode = digitized ? 0 : 1;
} catch (error) {
  // UNAVAILABLE with server_overloaded: send it again later. INVALID_ARGUMENT: do not.
  console.error(error.code in grpc.status ? `${grpc.status[error.code]}: ${error.details}` : error.message);
  process.exitCode = 2;
} finally {
  client.close();
}
