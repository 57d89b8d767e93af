// A client of CalDAV and CardDAV, made with tsdav.
//
//	node tsdav.mjs calendar|addresses <URL of a collection> <Authorization>
//
// It creates an object twice, reads the collection, saves the object twice with the same tag,
// deletes it with that tag, and deletes it with the tag that it reads then. It prints the
// statuses, and whether each tag that it has read was that of a GET.

import * as tsdav from "tsdav";

const [kind, url, authorization] = process.argv.slice(2);
const headers = { authorization };
const crlf = (...lines) => lines.join("\r\n") + "\r\n";

const kinds = {
  calendar: {
    filename: "one.ics",
    text: (summary) =>
      crlf("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//example//EN", "BEGIN:VEVENT", "UID:one", "DTSTAMP:20260101T000000Z",
        "DTSTART:20260101T000000Z", "SUMMARY:" + summary, "END:VEVENT", "END:VCALENDAR"),
    create: (filename, iCalString) => tsdav.createCalendarObject({ calendar: { url }, filename, iCalString, headers }),
    read: () => tsdav.fetchCalendarObjects({ calendar: { url }, headers }),
    save: (calendarObject) => tsdav.updateCalendarObject({ calendarObject, headers }),
    remove: (calendarObject) => tsdav.deleteCalendarObject({ calendarObject, headers }),
  },
  addresses: {
    filename: "one.vcf",
    text: (name) => crlf("BEGIN:VCARD", "VERSION:3.0", "UID:one", "FN:" + name, "N:" + name + ";;;;", "END:VCARD"),
    create: (filename, vCardString) => tsdav.createVCard({ addressBook: { url }, filename, vCardString, headers }),
    read: () => tsdav.fetchVCards({ addressBook: { url }, headers }),
    save: (vCard) => tsdav.updateVCard({ vCard, headers }),
    remove: (vCard) => tsdav.deleteVCard({ vCard, headers }),
  },
};

const client = kinds[kind];
const result = { statuses: {}, tags: [] };
const note = async (step, response) => (result.statuses[step] = (await response).status);

// read reads the only object of the collection.
async function read() {
  const [object] = await client.read();
  const { headers: fields } = await fetch(object.url, { headers });
  result.tags.push(Boolean(object.etag) && object.etag === fields.get("etag"));
  return object;
}

await note("create", client.create(client.filename, client.text("first")));
await note("create again", client.create(client.filename, client.text("another")));
const seen = await read();
await note("save", client.save({ ...seen, data: client.text("second") }));
await note("save again", client.save({ ...seen, data: client.text("third") }));
await note("delete", client.remove(seen));
const now = await read();
result.content = now.data;
await note("delete again", client.remove(now));
console.log(JSON.stringify(result));
