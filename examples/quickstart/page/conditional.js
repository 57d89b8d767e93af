// Reads and saves documents with fetch, and never overwrites a change that the user hasn't
// seen. Copy this file: it needs nothing else, in a browser or in Node.
//
//	let doc = await read("/docs/plan");
//	try {
//		doc = await save(doc, "my text");
//	} catch (e) {
//		if (!(e instanceof Conflict)) throw e;
//		// Somebody has saved meanwhile. Show e.mine beside e.theirs.text, let the user
//		// decide, and save what they choose: await save(e.theirs, chosen).
//	}
//
// A program that can apply its change again to a newer text needs no user:
//
//	await update("/docs/plan", (text) => text + "one more line\n");
//
// A document is {url, text, tag, type}. The text and the tag of one that doesn't exist are
// null; saving it creates it. Options of all functions, and their defaults:
//
//	attempts: 4    how often a request is sent
//	rounds: 4      how often update applies its change
//	pause: 500     milliseconds before the second attempt, twice as long before the third
//	type           of the content of a document that is created. Default: plain text
//	signal         of an AbortController
//	fetch          what sends requests

// Conflict: the document has changed since base was read. Nothing was saved. theirs is the
// document as it is now. Its text is null if it was deleted.
export class Conflict extends Error {
	constructor(base, mine, theirs) {
		super(`${base.url} has changed since it was read`);
		Object.assign(this, { base, mine, theirs });
	}
}

// Refused: the server answered with a status that sending the same again can't change. problem
// is what it says about it (RFC 9457): an object, or null.
export class Refused extends Error {
	constructor(url, response, problem) {
		super(`${url}: ${response.status} ${problem?.detail ?? response.statusText}`);
		Object.assign(this, { status: response.status, problem });
	}
}

// Unanswered: nobody knows whether the change was saved, or it can't be saved now. Keep the
// text, and save it later on top of the same base: that is safe in both cases.
export class Unanswered extends Error {}

export async function read(url, options = {}) {
	const response = await send(url, { cache: "no-store" }, options);
	if (response.status === 404) return { url, text: null, tag: null, type: null };
	if (!response.ok) throw new Refused(url, response, await problemOf(response));
	return documentOf(url, response);
}

// save saves text in place of what base was when it was read, and returns the document as it
// is then: edit that. The server may have made something else of the text.
export async function save(base, text, options = {}) {
	const condition = base.tag === null ? { "If-None-Match": "*" } : { "If-Match": base.tag };
	const type = base.type ?? options.type ?? "text/plain; charset=utf-8";
	const headers = { ...condition, "Content-Type": type, Prefer: "return=representation" };
	const response = await send(base.url, { method: "PUT", headers, body: text }, options);

	if (!response.ok && response.status !== 412) throw new Refused(base.url, response, await problemOf(response));
	if (response.status === 202) throw new Unanswered(`${base.url}: the server may save it later`);

	// With Prefer, the answer may show the document as it is now.
	const shown = response.headers.get("Preference-Applied")?.includes("return=representation");
	const tag = response.headers.get("ETag");
	if (response.status === 204 && tag !== null) {
		return { ...base, text, tag, type }; // stored as it was sent (RFC 9110, section 9.3.4)
	}
	const now = shown && tag !== null ? await documentOf(base.url, response) : await read(base.url, options);
	// If now has this text, it was saved at an earlier attempt whose answer was lost.
	if (response.status === 412 && now.text !== text) throw new Conflict(base, text, now);
	return now;
}

// update reads, lets change make a new text of the text, and saves. If somebody else was
// faster, it does so again with their text. The last Conflict is thrown.
export async function update(url, change, options = {}) {
	let base = await read(url, options);
	for (let left = options.rounds ?? 4; ; left--) {
		try {
			return await save(base, await change(base.text), options);
		} catch (e) {
			if (!(e instanceof Conflict) || left <= 1) throw e;
			base = e.theirs;
		}
	}
}

// send sends a request, and sends it again if there is no answer, or one that says to try
// later. For a write, that is safe because of its condition: if the first attempt has arrived
// after all, the condition of the second is false.
async function send(url, init, { attempts = 4, pause = 500, signal, fetch = globalThis.fetch }) {
	for (let attempt = 1; ; attempt++) {
		let response, why;
		try {
			response = await fetch(url, { ...init, signal });
			if (![429, 502, 503, 504].includes(response.status)) return response;
			why = (await problemOf(response))?.detail ?? `${response.status} ${response.statusText}`;
		} catch (e) {
			signal?.throwIfAborted();
			why = e.message;
		}
		const asked = Number(response?.headers.get("Retry-After") ?? 0) * 1000;
		if (attempt >= attempts || asked > 60_000) throw new Unanswered(`${url}: ${why}`);
		const ours = pause * 2 ** (attempt - 1) * (0.5 + Math.random() / 2); // not all clients at once
		await new Promise((done) => setTimeout(done, Math.max(asked || 0, ours)));
		signal?.throwIfAborted();
	}
}

async function documentOf(url, response) {
	const tag = response.headers.get("ETag");
	if (tag === null) throw new Error(`${url} has no ETag, so changes of it can't be protected`);
	return { url, text: await response.text(), tag, type: response.headers.get("Content-Type") };
}

async function problemOf(response) {
	const type = response.headers.get("Content-Type") ?? "";
	if (!type.startsWith("application/problem+json")) return null;
	return response.json().catch(() => null);
}
