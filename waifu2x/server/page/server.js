// Requests to the server of the page.

/** An error in the words of the server (RFC 9457). */
export class Problem extends Error {
  constructor(response, body) {
    super(body.detail ?? body.title ?? `The server answered ${response.status}.`);
    this.status = response.status;
    this.retryAfter = Number(response.headers.get("Retry-After")) || 5;
  }
}

/** Fetch from the server; raises Problem, or Error without a server. */
export async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Error("The server does not answer. Is waifu2x serve still running?");
  }
  if (response.ok) return response;
  throw new Problem(response, await response.json().catch(() => ({})));
}

/** Forget a job at the server; work under way stops. Works while the page closes, too. */
export const forget = (job) => fetch(`api/jobs/${job}`, { method: "DELETE", keepalive: true })
  .catch(() => {});

export function nameOf(response) {
  const header = response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=UTF-8''([^;]+)/i.exec(header);
  if (encoded) return decodeURIComponent(encoded[1]);
  return /filename="?([^";]+)/i.exec(header)?.[1] ?? "result";
}
