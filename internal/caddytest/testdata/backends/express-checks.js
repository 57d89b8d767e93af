// A document service as it is written with Express and a middleware for preconditions, of the
// kind that many applications have: the check comes before the write, and a database in between
// takes its time.
//
//	node express-checks.js <port> [checks]
//
// Without "checks", it is the same application without the middleware.

const crypto = require("crypto");
const express = require("express");

const app = express();
app.set("etag", false);
app.use(express.json());

const docs = new Map();
const database = () => new Promise((done) => setTimeout(done, 20));
const find = async (id) => {
  await database();
  return docs.get(id);
};
const tagOf = (doc) => {
  const text = JSON.stringify({ content: doc.content, updatedAt: doc.updatedAt });
  return '"' + crypto.createHash("md5").update(text).digest("hex") + '"';
};

async function checks(req, res, next) {
  const doc = await find(req.params.id);
  const match = req.get("If-Match");
  const since = req.get("If-Unmodified-Since");
  const fail = () => {
    if (doc) res.set("ETag", tagOf(doc));
    res.status(412).json({
      error: "Precondition Failed",
      message: "The document has changed.",
      details: { currentETag: doc ? tagOf(doc) : null, providedETag: match ?? since ?? null },
    });
  };
  if (match && (!doc || (match !== "*" && !match.split(/\s*,\s*/).includes(tagOf(doc))))) return fail();
  if (!match && since && doc && Math.floor(doc.updatedAt / 1000) * 1000 > Date.parse(since)) return fail();
  if (req.get("If-None-Match") === "*" && doc) return fail();
  next();
}

function show(res, status, doc) {
  if (process.argv[3] === "checks") res.set("ETag", tagOf(doc));
  res.set("Last-Modified", new Date(doc.updatedAt).toUTCString());
  res.status(status).json({ ...doc.content, updatedAt: new Date(doc.updatedAt).toISOString() });
}

app.get("/docs/:id", async (req, res) => {
  const doc = await find(req.params.id);
  if (!doc) return res.status(404).json({ error: "Not Found" });
  show(res, 200, doc);
});
const before = process.argv[3] === "checks" ? [checks] : [];
app.put("/docs/:id", ...before, async (req, res) => {
  await database();
  const existed = docs.has(req.params.id);
  const doc = { content: req.body, updatedAt: Date.now() };
  docs.set(req.params.id, doc);
  show(res, existed ? 200 : 201, doc);
});

app.listen(Number(process.argv[2]), "127.0.0.1");
