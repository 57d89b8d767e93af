// An object store for development, which ignores the conditions of writes. Its one bucket is b, and
// its one key is test, with the secret "secret".
//
//	node s3rver.js <port> <directory>

const S3rver = require("s3rver");
const { DUMMY_ACCOUNT } = require("s3rver/lib/models/account");

DUMMY_ACCOUNT.createKeyPair("test", "secret");
new S3rver({
  address: "127.0.0.1",
  port: Number(process.argv[2]),
  directory: process.argv[3],
  silent: true,
  vhostBuckets: false,
  configureBuckets: [{ name: "b" }],
}).run();
