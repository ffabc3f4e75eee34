// The admin API, as the pages use it. Paths begin with "/api/".

/** What the mesh refused, or that it did not answer; `status` is 0 where no answer came. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const SILENT = "The mesh does not answer. Does it still run?";

/** Read a document. @param {string} path @param {AbortSignal} [signal] @returns {Promise<any>} */
export async function get(path, signal) {
  return (await asked(path, { signal })).json();
}

/** Read what is no document. @param {string} path @param {AbortSignal} [signal] @returns {Promise<Uint8Array>} */
export async function bytes(path, signal) {
  return new Uint8Array(await (await asked(path, { signal })).arrayBuffer());
}

/**
 * Have something done; a body that is no string is sent as JSON.
 * @param {string} path @param {any} [body] @param {Record<string, string>} [headers]
 * @returns {Promise<any>} the answer, or null where it has no body
 */
export async function post(path, body = {}, headers = {}) {
  const answer = await asked(path, {
    method: "POST",
    body: typeof body === "string" ? body : JSON.stringify(body),
    headers: { "Content-Type": "application/json", ...headers },
  });
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/**
 * Follow a stream of lines until it ends; `onLine` is called with the text of each.
 * @param {string} path @param {(line: string) => void} onLine @param {AbortSignal} signal
 */
export async function lines(path, onLine, signal) {
  const answer = await asked(path, { signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const line of parts) if (line) onLine(line);
    }
  } catch (error) {
    if (signal.aborted) return;
    throw new ApiError(`The stream broke off: ${error.message}`, 0);
  }
}

/**
 * Read a document now and every so many seconds until `signal` is aborted, but not while nobody
 * sees the page. Errors go to `onError`, and the next try comes as usual.
 * @param {string} path @param {number} seconds @param {(document: any) => void} onDocument
 * @param {AbortSignal} signal @param {(error: Error) => void} [onError]
 */
export async function poll(path, seconds, onDocument, signal, onError = () => {}) {
  while (!signal.aborted) {
    try {
      const read = await get(path, signal);
      if (signal.aborted) return;
      onDocument(read);
    } catch (error) {
      if (signal.aborted) return;
      onError(error);
    }
    await pause(seconds, signal);
    if (document.hidden) await seen(signal);
  }
}

/** @param {number} seconds @param {AbortSignal} signal */
function pause(seconds, signal) {
  return unlessAborted(signal, (done) => {
    const timer = setTimeout(done, seconds * 1000);
    return () => clearTimeout(timer);
  });
}

/** @param {AbortSignal} signal */
function seen(signal) {
  return unlessAborted(signal, (done) => {
    document.addEventListener("visibilitychange", done);
    return () => document.removeEventListener("visibilitychange", done);
  });
}

/** Wait for what `begin` waits for, or until `signal` is aborted, and leave no listener behind. */
function unlessAborted(signal, begin) {
  return new Promise((resolve) => {
    const end = begin(done);
    function done() {
      end();
      signal.removeEventListener("abort", done);
      resolve();
    }
    signal.addEventListener("abort", done);
  });
}

/** @param {string} path @param {RequestInit} request */
async function asked(path, request) {
  let answer;
  try {
    // Relative to the page: the admin port may be under a path of a proxy.
    answer = await fetch(path.replace(/^\//, ""), { cache: "no-store", ...request });
  } catch (error) {
    if (request.signal?.aborted) throw error;
    said(false);
    throw new ApiError(SILENT, 0);
  }
  said(true);
  if (!answer.ok) throw new ApiError(await detail(answer), answer.status);
  return answer;
}

/** @param {Response} answer */
async function detail(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).detail || text;
  } catch {
    return text || `${answer.status} ${answer.statusText}`;
  }
}

let connected = true;

/** @param {boolean} answers */
function said(answers) {
  if (answers === connected) return;
  connected = answers;
  window.dispatchEvent(new CustomEvent("connection", { detail: answers ? null : SILENT }));
}
