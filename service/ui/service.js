/** Talk to the service: uploads, answers, problems, the key. Knows nothing of the page. */

const TRIES = 30; // while the service says that it is busy

// In memory only: gone when the page is.
let key = "";

/** Send this key, of characters that a header takes, with every request from now on. */
export function useKey(text) {
  key = text;
}

/** Why there is no answer: a problem of the service (RFC 9457), or one of the network. */
export class Refusal extends Error {
  constructor(problem) {
    super(problem.title);
    this.problem = problem;
  }
}

/** What GET /model says. */
export async function fetchModel() {
  return (await request("../model")).json();
}

/** One of the films that come with the page, as a File. */
export async function fetchExample(name) {
  const response = await request(`./examples/${name}`);
  return new File([await response.blob()], name);
}

/**
 * Read one file: {reading, rows, columns, grey: Uint16Array, heat: Uint8Array, colours: Uint8Array}.
 *
 * The name of the file is replaced: it may be that of a patient. `onBusy(seconds)` is called before
 * each pause that the service asks for.
 */
export async function fetchView(file, onBusy) {
  const { parts, film } = await upload("../view", file, onBusy);
  const bytes = async (name) => new Uint8Array(await parts.get(name).arrayBuffer());
  return {
    ...film,
    reading: JSON.parse(await parts.get("reading").text()),
    heat: await bytes("heat"),
    colours: await bytes("colours"),
  };
}

/** The film of a file that was refused, as `fetchView` gives it but without reading and heat. */
export async function fetchFilm(file) {
  const { film } = await upload("../view?reading=none", file);
  return { ...film, heat: new Uint8Array(film.grey.length), colours: new Uint8Array(3) };
}

async function upload(path, file, onBusy) {
  const body = new FormData();
  body.append("image", file, "image");
  const response = await request(path, { method: "POST", body }, onBusy);
  const parts = await response.formData();
  const film = {
    rows: Number(response.headers.get("X-Rows")),
    columns: Number(response.headers.get("X-Columns")),
    grey: new Uint16Array(await parts.get("radiograph").arrayBuffer()),
  };
  return { parts, film };
}

async function request(path, options = {}, onBusy = () => {}) {
  for (let tries = 1; ; tries += 1) {
    const sent = key;
    const headers = sent ? { Authorization: `Bearer ${sent}` } : {};
    const response = await fetch(path, { ...options, headers }).catch(() => null);
    if (!response) throw new Refusal(NO_ANSWER);
    if (response.ok) return response;
    if (response.status === 401 && sent !== key) continue; // another was given meanwhile
    const pause = Number(response.headers.get("Retry-After"));
    if (!pause || tries === TRIES) throw new Refusal(await problemOf(response));
    onBusy(pause);
    await new Promise((resolve) => setTimeout(resolve, pause * 1000));
  }
}

const NO_ANSWER = {
  status: 0,
  code: "no_answer",
  title: "No answer",
  detail: "The service did not answer, or the file cannot be read. Check both and try again.",
};

/** A proxy in front may answer with a page of its own. */
async function problemOf(response) {
  const { status } = response;
  const problem = await response.json().catch(() => ({}));
  return {
    ...problem,
    status,
    code: problem.code ?? `http_${status}`,
    title: problem.title ?? `Status ${status}`,
    detail: problem.detail ?? "The request failed.",
  };
}
