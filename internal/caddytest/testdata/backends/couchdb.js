// A CouchDB in memory: express-pouchdb, which speaks CouchDB's protocol.
//
//	node couchdb.js <port>

const express = require("express");
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-mapreduce"))
  .plugin(require("pouchdb-replication"));

const app = express();
const couchdb = require("express-pouchdb");

app.use(
  couchdb(PouchDB.defaults({ adapter: "memory" }), {
    mode: "minimumForPouchDB",
    inMemoryConfig: true,
    logPath: "couchdb.log",
  }),
);
app.listen(Number(process.argv[2]), "127.0.0.1");
