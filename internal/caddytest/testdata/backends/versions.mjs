// A client that makes its If-Match from the version in the content, as the clients of a
// protocol do.
//
//	node versions.mjs fhir|odata|scim <URL of the service>
//
// It reads a resource and saves it, saves what it has read a second time, and then competes
// with itself. It prints how each of these ended: the text of the resource, or a status.

import { createRequire } from "node:module";

const [protocol, base] = process.argv.slice(2);
const contestants = 16;

// fhir uses fhir-kit-client.
async function fhir() {
  const { Client } = await import("fhir-kit-client");
  const client = new Client({ baseUrl: base + "/fhir" });
  const id = { resourceType: "Patient", id: "1" };
  return {
    read: () => client.read(id),
    text: (patient) => patient.text,
    save: (patient, text) =>
      client
        .update({
          ...id,
          body: { ...patient, text },
          options: { headers: { "If-Match": `W/"${patient.meta.versionId}"` } },
        })
        .then(() => 200)
        .catch((error) => error.response?.status ?? String(error)),
  };
}

// odata uses dynamics-web-api.
async function odata() {
  const { DynamicsWebApi } = createRequire(import.meta.url)("dynamics-web-api");
  const client = new DynamicsWebApi({ serverUrl: base });
  const record = { collection: "accounts", key: "00000000-0000-0000-0000-000000000001" };
  return {
    read: () => client.retrieve(record),
    text: (account) => account.text,
    save: (account, text) =>
      client
        .update({ ...record, data: { text }, ifmatch: account["@odata.etag"] })
        .then((saved) => (saved === false ? 412 : 200))
        .catch((error) => error.status ?? String(error)),
  };
}

// scim is what RFC 7644, section 3.14, asks of a client.
async function scim() {
  const url = base + "/scim/v2/Users/1";
  return {
    read: async () => (await fetch(url)).json(),
    text: (user) => user.text,
    save: async (user, text) =>
      (
        await fetch(url, {
          method: "PUT",
          headers: { "Content-Type": "application/scim+json", "If-Match": user.meta.version },
          body: JSON.stringify({ ...user, text }),
        })
      ).status,
  };
}

const client = await { fhir, odata, scim }[protocol]();
const first = await client.read();
const saved = await client.save(first, "second");
const stale = await client.save(first, "lost");
const second = await client.read();
const again = await client.save(second, "third");
const third = await client.read();
const contest = await Promise.all(
  Array.from({ length: contestants }, (_, i) => client.save(third, `by ${i}`)),
);
console.log(JSON.stringify({ saved, stale, again, text: client.text(third), contest }));
