// A document service with PostgreSQL: it writes to the primary, and reads from the
// replicas in turn, as many web frameworks do. Any PUT is accepted.
//
//	node postgres.js <port> <directory of sockets> <port of primary> <port of replica>...
//
// /record shows the writes that
// the primary has applied: what each replaced, and what its client said that it
// replaces.

const http = require("http");
const { Pool } = require("pg");

const [port, host, ...databases] = process.argv.slice(2);
const [primary, ...replicas] = databases.map(
  (port) => new Pool({ host, port: Number(port), user: "nobody", database: "postgres", max: 8 }),
);
for (const pool of [primary, ...replicas]) {
  pool.on("error", () => {}); // the databases end before this program
}
let reads = 0;

async function get(path) {
  const replica = replicas[reads++ % replicas.length];
  const { rows } = await replica.query("SELECT content FROM docs WHERE path = $1", [path]);
  return rows[0]?.content;
}

async function put(path, content, replaces) {
  const client = await primary.connect();
  try {
    await client.query("BEGIN");
    await client.query("LOCK TABLE docs IN EXCLUSIVE MODE");
    const { rows } = await client.query("SELECT content FROM docs WHERE path = $1", [path]);
    await client.query(
      "INSERT INTO docs VALUES ($1, $2) ON CONFLICT (path) DO UPDATE SET content = $2",
      [path, content],
    );
    await client.query("INSERT INTO writes (path, replaced, replaces) VALUES ($1, $2, $3)", [
      path,
      rows[0]?.content ?? "",
      replaces ?? "",
    ]);
    await client.query("COMMIT");
  } finally {
    client.release();
  }
}

http
  .createServer(async (req, res) => {
    try {
      let content = "";
      for await (const chunk of req) {
        content += chunk;
      }
      if (req.url === "/record") {
        const { rows } = await primary.query("SELECT path, replaced, replaces FROM writes ORDER BY id");
        res.end(JSON.stringify(rows));
      } else if (req.method === "GET") {
        const found = await get(req.url);
        res.writeHead(found === undefined ? 404 : 200, { "Content-Type": "text/plain" });
        res.end(found);
      } else {
        await put(req.url, content, req.headers["x-based-on"]);
        res.writeHead(204);
        res.end();
      }
    } catch (err) {
      console.error(err);
      res.writeHead(500);
      res.end();
    }
  })
  .listen(Number(port), "127.0.0.1");
