// Shows what the admin API says, again and again. Whatever comes from clients gets into the
// page as text, never as HTML.

const every = 2000; // milliseconds
const at = (id) => document.getElementById(id);

function element(name, text, className) {
	const e = document.createElement(name);
	if (text !== undefined) e.textContent = text;
	if (className) e.className = className;
	return e;
}

// table shows rows of objects in the place with an id. Columns are [title, value, className].
function table(id, columns, rows, nothing) {
	if (rows.length === 0) {
		at(id).replaceChildren(element("p", nothing));
		return;
	}
	const t = element("table"), head = element("tr");
	for (const [title, , className] of columns) {
		const th = element("th", title);
		th.scope = "col";
		if (className) th.className = className;
		head.append(th);
	}
	t.createTHead().append(head);
	const body = t.createTBody();
	for (const row of rows) {
		const tr = element("tr");
		for (const [title, value, className] of columns) {
			const shown = value(row);
			const td = element("td", shown instanceof Node ? undefined : shown, className);
			if (shown instanceof Node) td.append(shown);
			td.dataset.name = title;
			tr.append(td);
		}
		body.append(tr);
	}
	at(id).replaceChildren(t);
}

const time = (text) => new Date(text).toLocaleString([], {dateStyle: "short", timeStyle: "medium"});
const seconds = (n) => (n < 60 ? n.toFixed(1) : Math.round(n)) + " s";

function showNumbers({stats, stores, claims}) {
	const down = stores.filter((s) => s.state !== "up" || s.grace_seconds);
	const waiting = claims.waiting.reduce((n, w) => n + w.writes, 0);
	const numbers = [
		["lost updates prevented in 7 days", stats.lost_updates_prevented, "good"],
		["updates lost in mode report", stats.lost_updates, stats.lost_updates ? "bad" : ""],
		["writes in flight", claims.claims.length],
		["writes waiting", waiting],
		["stores", down.length ? down.map((s) => s.store + " " + (s.state === "up" ? "in grace" : s.state)).join(", ") : "up", down.length ? "bad" : "good"],
	];
	at("numbers").replaceChildren(...numbers.map(([name, value, className]) => {
		const li = element("li");
		li.append(element("strong", String(value), className), name);
		return li;
	}));
}

function showRefusals({refusals, forgotten}) {
	const wanted = at("filter").value.trim().toLowerCase();
	const shown = refusals.filter((r) => r.resource.toLowerCase().includes(wanted)).slice(0, 50);
	table("refusals", [
		["time", (r) => time(r.time)],
		["request", (r) => r.method + " " + r.resource, "code"],
		["answer", (r) => (r.mode === "report" ? "would be " : "") + r.status + " " + r.outcome],
		["sent", (r) => r.condition ? r.condition + ": " + (r.provided ?? "") : r.outcome === "required" ? "no condition" : "–", "code"],
		["current", (r) => r.current ?? "–", "code"],
		["why", (r) => r.reason],
	], shown, forgotten + refusals.length === 0 ? "Nothing was refused." : "None of these.");
}

function showRequests({requests}) {
	const most = Math.max(1, ...requests.map((r) => r.count));
	table("requests", [
		["outcome", (r) => r.outcome],
		["mode", (r) => r.mode],
		["requests", (r) => r.count.toLocaleString(), "number"],
		["share", (r) => {
			const meter = element("meter");
			meter.max = most;
			meter.value = r.count;
			meter.setAttribute("aria-label", r.outcome);
			return meter;
		}],
	], requests, "There were no requests.");
}

function showHandlers({handlers}) {
	table("handlers", [
		["handler", (h) => h.handler],
		["mode", (h) => h.mode],
		["writes", (h) => h.writes.map((w) => `${w.method} ${w.outcome} ${w.count}`).join(", ")],
		["prevented", (h) => h.lost_updates_prevented, "number"],
		["lost", (h) => h.mode === "report" ? h.lost_updates : "–", "number"],
		["no condition from", (h) => h.without_condition.slice(0, 5).map((c) => `${c.client} ${c.writes}`).join(", ") || "–"],
	], handlers.filter((h) => h.writes.length), "There were no writes.");
}

function showClaims({claims, waiting}) {
	const waits = new Map(waiting.map((w) => [w.store + " " + w.resource, w]));
	const rows = claims.slice(0, 50).map((c) => ({...c, writes: waits.get(c.store + " " + c.resource)?.writes ?? 0}));
	for (const c of claims) waits.delete(c.store + " " + c.resource);
	for (const w of waits.values()) rows.push({...w, kind: "–"});
	table("claims", [
		["resource", (c) => c.resource, "code"],
		["kind", (c) => c.kind],
		["store", (c) => c.store],
		["held for", (c) => c.age_seconds === undefined ? "–" : seconds(c.age_seconds)],
		["waiting", (c) => c.writes, "number"],
	], rows, "No write is in flight.");
}

function showStores({stores}) {
	table("stores", [
		["store", (s) => s.store],
		["state", (s) => element("span", s.state, s.state === "up" ? "good" : "bad")],
		["grace", (s) => s.grace_seconds ? seconds(s.grace_seconds) + ": " + s.grace_reason : "–"],
		["journal", (s) => s.journal.resources ? `${s.journal.untold} of ${s.journal.resources} resources untold` : "empty"],
	], stores, "There are none.");
}

async function get(path) {
	const response = await fetch(path, {cache: "no-store"});
	if (!response.ok) throw new Error(`${path}: ${response.status}`);
	return response.json();
}

let last;

function show() {
	showRefusals(last.refusals);
	showRequests(last.stats);
	showHandlers(last.stats);
	showClaims(last.claims);
	showStores(last.stores);
	showNumbers({stats: last.stats, stores: last.stores.stores, claims: last.claims});
}

async function refresh() {
	try {
		const [stats, refusals, claims, stores] = await Promise.all(["stats?since=7d", "refusals?limit=200", "claims", "stores"].map(get));
		last = {stats, refusals, claims, stores};
		show();
		at("state").textContent = `This node, since ${time(stats.begun)}. As of ${new Date().toLocaleTimeString()}.`;
		at("state").className = "";
	} catch (e) {
		at("state").textContent = `Not up to date: ${e.message}`;
		at("state").className = "failed";
	}
}

const paused = () => at("pause").getAttribute("aria-pressed") === "true";
at("pause").addEventListener("click", () => {
	at("pause").setAttribute("aria-pressed", String(!paused()));
	at("pause").textContent = paused() ? "Go on" : "Pause";
});
at("filter").addEventListener("input", () => last && showRefusals(last.refusals));

for (;;) {
	if (!document.hidden && !paused()) await refresh();
	await new Promise((done) => setTimeout(done, every));
}
