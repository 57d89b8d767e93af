// The page of the quick start: two people edit one document. What an application needs of
// this is conditional.js; and diff.js, to show a conflict.

import { Conflict, Unanswered, read, save } from "./conditional.js";
import { mark, merge } from "./diff.js";

const url = "/docs/checklist";
const guarded = (location.port || "80") === document.querySelector("#with").dataset.port;
const options = { fetch: watched };

for (const link of document.querySelectorAll("nav a")) {
	const there = new URL(location);
	there.port = link.dataset.port;
	link.href = there;
	if (guarded === (link.id === "with")) link.setAttribute("aria-current", "page");
}
document.querySelector("#explanation").textContent = guarded
	? "Change a line in both panes. Save one, then the other. The second save is refused, and nothing is lost."
	: "Change a line in both panes. Save one, then the other. Both succeed, and the first change is gone.";

// watched is fetch, and shows the requests on the page.
async function watched(to, init) {
	const item = document.createElement("li");
	const condition = Object.entries(init.headers ?? {}).filter(([name]) => name.startsWith("If-"))
		.map(([name, value]) => ` ${name}: ${value}`).join("");
	const show = (result) => { item.textContent = `${init.method ?? "GET"} ${to}${condition} → ${result}`; };
	show("…");
	document.querySelector("#requests").prepend(item);
	try {
		const response = await fetch(to, init);
		show(`${response.status} ${response.statusText}`);
		item.classList.toggle("refused", response.status >= 400);
		return response;
	} catch (e) {
		show("no answer");
		throw e;
	}
}

// The two functions of conditional.js, as an application without conditions has them. saveBlindly
// also looks at what it replaces, but only to tell the people in front of this page.
async function readBlindly() {
	return { url, text: await (await watched(url, { cache: "no-store" })).text() };
}

async function saveBlindly(base, text) {
	const before = await (await fetch(url, { cache: "no-store" })).text();
	const headers = { "Content-Type": "text/plain; charset=utf-8" };
	const response = await watched(url, { method: "PUT", headers, body: text });
	if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
	const lost = before !== base.text && before !== text;
	for (const other of lost ? panes : []) other.showLoss(before);
	return { url, text };
}

// Pane is one person's editor.
class Pane {
	constructor(name) {
		const root = document.querySelector("#pane").content.firstElementChild.cloneNode(true);
		this.root = root;
		this.$ = (selector) => root.querySelector(selector);
		root.id = name.toLowerCase();
		root.setAttribute("aria-label", name);
		this.$("h2").textContent = name;
		this.$("label span").textContent = `${name}'s text`;
		this.text = this.$("textarea");
		this.$(".save").onclick = () => this.save();
		this.$(".reload").onclick = () => this.load();
		this.$(".keep").onclick = () => this.resolve(this.text.value, true);
		this.$(".take").onclick = () => this.resolve(this.conflict.theirs.text ?? "", false);
		this.$(".merge").onclick = () => this.mergeVersions();
		this.text.oninput = () => { if (this.conflict) this.paintVersions(); };
		this.text.onkeydown = (e) => {
			if ((e.ctrlKey || e.metaKey) && e.key === "s") {
				e.preventDefault();
				if (!this.busy) this.save();
			}
		};
		// What couldn't be sent is sent when the network is back, on top of what it was based on.
		addEventListener("online", () => { if (this.unsent) this.save(); });
		document.querySelector("#panes").append(root);
	}

	say(text) { this.$(".status").textContent = text; }

	// work does one thing at a time, and says what became of it.
	async work(doing, task) {
		const focused = document.activeElement; // disabled buttons lose the focus
		this.busy = true;
		this.say(doing);
		this.text.readOnly = true;
		for (const button of this.root.querySelectorAll("button")) button.disabled = true;
		try {
			await task();
		} catch (e) {
			if (e instanceof Conflict) this.showConflict(e);
			else this.say(e instanceof Unanswered ? `Not saved yet: ${e.message}. Your text is kept here.` : e.message);
		}
		for (const button of this.root.querySelectorAll("button")) button.disabled = false;
		this.text.readOnly = false;
		this.busy = false;
		if (focused !== document.body && !this.root.contains(focused)) return; // the user is elsewhere
		if (this.conflict) this.$("h3").focus();
		else if (document.activeElement === document.body) focused.focus();
	}

	show(doc) {
		this.base = doc;
		this.text.value = doc.text ?? "";
		this.hideConflict();
		this.root.classList.remove("lost");
	}

	load() {
		return this.work("Reading…", async () => {
			this.show(await (guarded ? read(url, options) : readBlindly()));
			this.unsent = false;
			this.say("");
		});
	}

	save() {
		return this.work("Saving…", async () => {
			if (!this.base) throw new Error("The document hasn't been read.");
			this.unsent = true;
			try {
				this.show(await (guarded ? save : saveBlindly)(this.base, this.text.value, options));
				this.unsent = false;
				this.say("Saved.");
			} catch (e) {
				this.unsent = e instanceof Unanswered;
				throw e;
			}
		});
	}

	showConflict(conflict) {
		this.conflict = conflict;
		this.paintVersions();
		this.root.classList.add("clash");
		this.$(".conflict").hidden = false;
		this.say("Not saved: the document has changed since you read it.");
	}

	// paintVersions shows both versions. Mine is what the editor has: the user may go on typing.
	paintVersions() {
		const mine = this.text.value, theirs = this.conflict.theirs.text;
		paint(this.$(".mine"), mark(mine, theirs ?? ""));
		paint(this.$(".theirs"), theirs === null ? [{ text: "(deleted)", differs: true }] : mark(theirs, mine));
	}

	hideConflict() {
		this.conflict = null;
		this.root.classList.remove("clash");
		this.$(".conflict").hidden = true;
	}

	// resolve goes on with a text, on top of the version that the user has now seen.
	resolve(text, andSave) {
		this.base = this.conflict.theirs;
		this.text.value = text;
		this.hideConflict();
		this.text.focus();
		if (andSave) return this.save();
		this.say("This is their version.");
	}

	mergeVersions() {
		const { base, theirs } = this.conflict;
		const merged = merge(base.text ?? "", this.text.value, theirs.text ?? "");
		this.resolve(merged.text, false);
		this.say(merged.clashes === 0
			? "Both changes are in. Look it over, then save."
			: "You have both changed the same lines, and both versions are in. Edit, then save.");
	}

	// showLoss tells that a save has replaced this text, which somebody had saved.
	showLoss(text) {
		if (this.base?.text !== text) return;
		this.root.classList.add("lost");
		this.say("What you saved is gone, and nobody was told.");
	}
}

function paint(element, words) {
	element.replaceChildren(...words.map(({ text, differs }) => {
		if (!differs || text.trim() === "") return text;
		const marked = document.createElement("mark");
		marked.textContent = text;
		return marked;
	}));
}

const panes = [new Pane("Ann"), new Pane("Ben")];
await Promise.all(panes.map((pane) => pane.load()));
document.body.dataset.ready = "yes";
