// A document service as it is written with Express: documents in memory,
// answered with res.json, any PUT, PATCH and DELETE accepted.
//
//	node express.js <port> [<reads a minute> [<origins>]]
//
// The origins are those that the package cors lets read the answers, as JSON: the
// options that its users write.

const express = require("express");

const app = express();
const docs = new Map();

const limit = Number(process.argv[3]);
if (limit) {
  const { rateLimit } = require("express-rate-limit");
  app.use(rateLimit({ windowMs: 60000, limit, skip: (req) => req.method !== "GET" }));
}

if (process.argv[4]) {
  app.use(require("cors")(JSON.parse(process.argv[4])));
}

app.use(express.json());

app
  .route("/docs/:name")
  .get((req, res) => {
    const doc = docs.get(req.params.name);
    if (doc === undefined) {
      return res.status(404).json({ error: "no such document" });
    }
    res.json(doc);
  })
  .put((req, res) => {
    docs.set(req.params.name, req.body);
    res.json(req.body);
  })
  .patch((req, res) => {
    if (!docs.has(req.params.name)) {
      return res.status(404).json({ error: "no such document" });
    }
    docs.set(req.params.name, { ...docs.get(req.params.name), ...req.body });
    res.json(docs.get(req.params.name));
  })
  .delete((req, res) => {
    if (!docs.delete(req.params.name)) {
      return res.status(404).json({ error: "no such document" });
    }
    res.json({});
  });

app.listen(Number(process.argv[2]), "127.0.0.1");
