// A document service whose reads come from a replica: node replica.js <port> <milliseconds behind>

const http = require("node:http");

const [port, behind] = process.argv.slice(2).map(Number);
const versions = []; // { at, path, content }, the oldest first

http
  .createServer(async (req, res) => {
    let content = "";
    for await (const piece of req) content += piece;
    if (req.method === "PUT") {
      versions.push({ at: Date.now(), path: req.url, content });
      return res.writeHead(204).end();
    }
    const seen = versions.findLast((v) => v.path === req.url && v.at <= Date.now() - behind);
    if (!seen) return res.writeHead(404).end();
    res.writeHead(200, { "Content-Type": "text/plain" }).end(seen.content);
  })
  .listen(port, "127.0.0.1");
