// Reads events of en57 as JSON lines, writes them back, and what en57_append would be given.

import { EventKind, eventToJson, parseEvent, toAppend } from "./events";

declare function require(name: "fs"): {
  readFileSync(file: number, encoding: "utf8"): string;
};
declare const console: { log(line: string): void };

const lines = require("fs").readFileSync(0, "utf8").trimEnd().split("\n");
for (const line of lines) {
  const event = parseEvent(JSON.parse(line));
  const known = event.kind !== "Unknown";
  const append =
    event.kind === "Unknown"
      ? null
      : toAppend<EventKind>(event.kind, event.data, {
          tags: event.tags,
          correlation_id: "c",
          causation_id: "d",
          trace_id: "e",
          ...(event.meta === null ? {} : { meta: event.meta }),
        });
  console.log(JSON.stringify({ known, event: eventToJson(event), append }));
}
