// Prints what the npm package eventsource gets from a URL, one JSON value a line.
import { EventSource } from "eventsource";

const source = new EventSource(process.argv[2]);
const print = (value) => console.log(JSON.stringify(value));
for (const type of ["message", "tick", "tock", "gap"]) {
  source.addEventListener(type, (e) => print({ type: e.type, data: e.data, id: e.lastEventId }));
}
source.onerror = () => print({ type: "error", data: String(source.readyState), id: "" });
