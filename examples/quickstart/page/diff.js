// Compares and merges texts. Times and memory grow with the product of their lengths, so this
// is for documents that people edit, not for logs.

// matches returns the pairs of indices of a longest common subsequence of two lists.
function matches(a, b) {
	const width = b.length + 1;
	const longest = new Uint32Array((a.length + 1) * width); // of what begins at i and j
	for (let i = a.length - 1; i >= 0; i--) {
		for (let j = b.length - 1; j >= 0; j--) {
			longest[i * width + j] = a[i] === b[j]
				? longest[(i + 1) * width + j + 1] + 1
				: Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
		}
	}
	const pairs = [];
	for (let i = 0, j = 0; i < a.length && j < b.length;) {
		if (a[i] === b[j]) pairs.push([i++, j++]);
		else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i++;
		else j++;
	}
	return pairs;
}

// mark returns the words of a text, and the space between them, as a list of {text, differs}:
// differs says whether the other text lacks it.
export function mark(text, other) {
	const words = (s) => s.match(/\s+|[^\s]+/g) ?? [];
	const all = words(text);
	const common = new Set(matches(all, words(other)).map(([i]) => i));
	return all.map((word, i) => ({ text: word, differs: !common.has(i) }));
}

// merge applies two people's changes of a text, line by line. Where both have changed the same
// lines, it takes mine and then theirs, and counts that as a clash for a person to settle.
export function merge(base, mine, theirs) {
	const [o, a, b] = [base, mine, theirs].map((s) => s.match(/[^\n]*\n|[^\n]+$/g) ?? []);
	const inMine = new Map(matches(o, a)), inTheirs = new Map(matches(o, b));
	const merged = [];
	let clashes = 0, from = [0, 0, 0];
	for (let i = 0; i <= o.length; i++) {
		const end = i === o.length;
		if (!end && !(inMine.has(i) && inTheirs.has(i))) continue;
		// Line i is in all three, so what is before it changed by itself.
		const to = end ? [o.length, a.length, b.length] : [i, inMine.get(i), inTheirs.get(i)];
		const [old, ours, other] = [o, a, b].map((lines, n) => lines.slice(from[n], to[n]));
		const same = (x, y) => x.length === y.length && x.every((line, n) => line === y[n]);
		if (same(ours, other) || same(other, old)) merged.push(...ours);
		else if (same(ours, old)) merged.push(...other);
		else {
			clashes++;
			if (ours.length && !ours.at(-1).endsWith("\n")) ours.push(`${ours.pop()}\n`);
			merged.push(...ours, ...other);
		}
		if (!end) merged.push(o[i]);
		from = to.map((n) => n + 1);
	}
	return { text: merged.join(""), clashes };
}
