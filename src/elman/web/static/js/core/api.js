// The server: JSON, raw arrays and event streams. An error arrives as its sentence.

const ARRAYS = { int8: Int8Array, uint8: Uint8Array, int32: Int32Array, float32: Float32Array };

/** What the server said no to, in its own words. */
export class ServerError extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

async function refused(response) {
  let sentence = `The server answered ${response.status} without a reason.`;
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // no JSON: the sentence above is all there is to say
  }
  return new ServerError(sentence, response.status);
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(`/api/${path}`, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is elman inspect still running?", 0);
  }
  if (!response.ok) throw await refused(response);
  return response;
}

/** A path of the interface with its parts escaped: path`runs/${name}`. */
export function path(parts, ...values) {
  return parts.map((part, k) => part + (k < values.length ? encodeURIComponent(values[k]) : "")).join("");
}

/** A JSON document. */
export async function get(where, signal) {
  return (await ask(where, { signal })).json();
}

function posting(body, signal) {
  return { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
}

/** Sends a JSON document, receives one. */
export async function post(where, body, signal) {
  return (await ask(where, posting(body, signal))).json();
}

/** The text at an address. */
export async function text(where, signal) {
  const bytes = await (await ask(where, { signal })).arrayBuffer();
  // ignoreBOM: a mark at the start of the text is one of its characters, and positions count it
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** A typed array. */
export async function array(where, signal) {
  const response = await ask(where, { signal });
  const kind = ARRAYS[response.headers.get("x-elman-type")];
  if (!kind) throw new ServerError("The server sent numbers of an unknown type.", response.status);
  const bytes = await response.arrayBuffer();
  if (bytes.byteLength % kind.BYTES_PER_ELEMENT) throw new ServerError("The numbers arrived cut off.", response.status);
  return new kind(bytes);
}

/** The events of a stream, as [name, data]; aborting the signal ends it, and with it the server's work. */
export async function* events(where, { body, signal } = {}) {
  const response = await ask(where, body === undefined ? { signal } : posting(body, signal));
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      rest += done ? "\n\n" : decoder.decode(value, { stream: true });
      const whole = rest.split("\n\n");
      rest = whole.pop();
      for (const block of whole) {
        let name = "message";
        const data = [];
        for (const line of block.split("\n")) {
          if (line.startsWith("event:")) name = line.slice(6).trim();
          else if (line.startsWith("data:")) data.push(line.slice(5));
        }
        if (data.length) yield [name, JSON.parse(data.join("\n"))];
      }
      if (done) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Starts a job and waits for its result, told of its progress on the way. */
export async function job(where, body, { progress = () => {}, signal } = {}) {
  const started = await post(where, body, signal);
  if (!started.job) return started.result ?? started;
  const cancel = () => ask(path`jobs/${started.job}`, { method: "DELETE", keepalive: true }).catch(() => {});
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    for await (const [name, data] of events(path`jobs/${started.job}/events`, { signal })) {
      if (name === "progress") progress(data.progress, data.message);
      else if (name === "done") return data.result;
      else if (name === "failed") throw new ServerError(data.error ?? "The job failed.", 500);
      else if (name === "cancelled") throw new DOMException("cancelled", "AbortError");
    }
    throw new ServerError("The server went away before the job was done.", 0);
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

/** A store of the last `size` answers by key; a failed one is forgotten. */
export function remembering(size) {
  const kept = new Map();
  return (key, make) => {
    const found = kept.get(key);
    kept.delete(key);
    const promise = found ?? make();
    kept.set(key, promise);
    if (!found) promise.catch(() => kept.get(key) === promise && kept.delete(key));
    if (kept.size > size) kept.delete(kept.keys().next().value);
    return promise;
  };
}
