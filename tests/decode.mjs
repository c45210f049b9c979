// Decode streams as the browser client does: cases as JSON on stdin, what they dispatch on stdout.
import { readFileSync } from "node:fs";

const { EventDecoder } = await import(process.argv[2]);

const answers = JSON.parse(readFileSync(0, "utf8")).map(({ stream, size }) => {
  const bytes = Buffer.from(stream, "base64");
  const decoder = new EventDecoder();
  const events = [];
  for (let start = 0; start < bytes.length; start += size) {
    events.push(...decoder.feed(new Uint8Array(bytes.subarray(start, start + size))));
  }
  return {
    events: events.map(({ type, data, lastEventId }) => [type, data, lastEventId]),
    lastEventId: decoder.lastEventId,
    retry: decoder.retry ?? null,
  };
});
process.stdout.write(JSON.stringify(answers));
