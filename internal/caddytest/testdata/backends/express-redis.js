// What people write to check preconditions with Express and Redis, in front of a backend:
// the check and the write are two steps.
//
//	node express-redis.js <host> <port> <origin> <redis>

const crypto = require("crypto");
const express = require("express");
const http = require("http");
const { createClient } = require("redis");

const [host, port, origin, redisAddress] = process.argv.slice(2);
const redis = createClient({ url: "redis://" + redisAddress });
const app = express();
app.disable("etag");
app.disable("x-powered-by");
app.use(express.raw({ type: () => true, limit: "16mb" }));

const tagOf = (content) => '"' + crypto.createHash("md5").update(content).digest("hex") + '"';

app.use(async (req, res, next) => {
  if (req.method !== "PUT") {
    return next();
  }
  const known = await redis.get("etag:" + req.path);
  const match = req.get("If-Match");
  const none = req.get("If-None-Match");
  if ((match && match !== "*" && match !== known) || (none && none === known)) {
    return res.status(412).end();
  }
  next();
});

const agent = new http.Agent({ keepAlive: true });
const [originHost, originPort] = origin.split(":");

function forward(req) {
  return new Promise((resolve, reject) => {
    const content = req.method === "PUT" ? req.body : undefined;
    const headers = content ? { "Content-Length": content.length } : {};
    const options = { agent, host: originHost, port: originPort, path: req.url, method: req.method, headers };
    const out = http.request(options, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => resolve({ answer, content: Buffer.concat(parts) }));
      answer.on("error", reject);
    });
    out.on("error", reject);
    out.end(content);
  });
}

app.use(async (req, res) => {
  const { answer, content } = await forward(req);
  const tag = tagOf(req.method === "PUT" ? req.body : content);
  if (answer.statusCode < 300) {
    await redis.set("etag:" + req.path, tag);
    res.set("ETag", tag);
  }
  if (req.method !== "PUT" && req.get("If-None-Match") === tag) {
    return res.status(304).end();
  }
  if (answer.headers["content-type"]) {
    res.set("Content-Type", answer.headers["content-type"]);
  }
  res.status(answer.statusCode).end(content);
});

redis.connect().then(() => app.listen(Number(port), host));
