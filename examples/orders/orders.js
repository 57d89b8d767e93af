// An order service that checks nothing: node orders.js <port>

const http = require("node:http");

const orders = new Map();

http
  .createServer(async (req, res) => {
    const [, , id, action] = req.url.split("/");
    let sent = "";
    for await (const piece of req) sent += piece;
    const answer = (status, value) => {
      res.writeHead(status, { "Content-Type": "application/json" });
      res.end(JSON.stringify(value));
    };

    if (!id) {
      if (req.method !== "POST") return answer(200, [...orders.values()]);
      const order = JSON.parse(sent);
      orders.set(order.id, { ...order, state: "new" });
      return answer(201, orders.get(order.id));
    }
    if (!orders.has(id)) return answer(404, { error: "no such order" });
    if (req.method === "PUT") orders.set(id, { ...orders.get(id), ...JSON.parse(sent) });
    if (req.method === "POST" && action === "ship") orders.set(id, { ...orders.get(id), state: "shipped" });
    answer(200, orders.get(id));
  })
  .listen(Number(process.argv[2]), "127.0.0.1");
