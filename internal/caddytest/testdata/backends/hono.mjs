// A document service as it is written with Hono: documents in memory, found by a
// parameter of the route.
//
//	node hono.mjs <port>

import { serve } from "@hono/node-server";
import { Hono } from "hono";

const app = new Hono();
const docs = new Map();

app.get("/docs/:name", (c) => {
  const doc = docs.get(c.req.param("name"));
  return doc === undefined ? c.json({ error: "no such document" }, 404) : c.json(doc);
});

app.put("/docs/:name", async (c) => {
  docs.set(c.req.param("name"), await c.req.json());
  return c.body(null, 204);
});

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.argv[2]) });
