// A document service of Node alone, which resolves the target of a request against a URL.
// Many a service does so to get at the query.
//
//	node url.js <port>

const http = require("node:http");

const docs = new Map();

http
  .createServer((req, res) => {
    let path;
    try {
      path = decodeURIComponent(new URL(req.url, "http://localhost").pathname);
    } catch {
      return res.writeHead(400).end();
    }
    const chunks = [];
    req.on("data", (chunk) => chunks.push(chunk));
    req.on("end", () => {
      if (req.method === "PUT") {
        docs.set(path, Buffer.concat(chunks));
        res.writeHead(204).end();
      } else if (docs.has(path)) {
        res.writeHead(200, { "Content-Type": "application/json" }).end(docs.get(path));
      } else {
        res.writeHead(404).end();
      }
    });
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
