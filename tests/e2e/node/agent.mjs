// An agent on the npm package ws, as its author might write it after an hour with the protocol's page.
//
//   node agent.mjs URL AGENT
//
// Prints a line for each event: "registered", "message ID BASE64" (the payload's text in UTF-8) and "closed CODE".

import WebSocket from "ws";

const [url, agent] = process.argv.slice(2);
const socket = new WebSocket(url, "relay.v1");
const say = (frame) => socket.send(JSON.stringify(frame));
const print = (...words) => process.stdout.write(words.join(" ") + "\n");

const handlers = {
  registered: (frame) => print("registered", frame.queued),
  message: (frame) => {
    const text = typeof frame.payload === "string" ? frame.payload : JSON.stringify(frame.payload);
    print("message", frame.id, Buffer.from(text).toString("base64"));
    say({ type: "ack", id: frame.id });
  },
  error: (frame) => print("error", frame.code),
};

socket.on("open", () => say({ type: "register", agent, client: "ws on node" }));
socket.on("message", (data, isBinary) => {
  if (isBinary) throw new Error("the relay sends text frames only");
  const frame = JSON.parse(data.toString("utf8"));
  handlers[frame.type]?.(frame);
});
socket.on("close", (code) => print("closed", code));
socket.on("error", (error) => print("failed", error.message));
