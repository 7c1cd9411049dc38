// A dialler in forty lines: its caller says one WAV to the bot, and hears what is written into another.
//
//     npm install ws
//     RINGFLEET_KEY=... node client.mjs wss://fleet.example.com/ws/BOT_ID says.wav heard.wav    (8 kHz, mono, 16 bits)
import { randomUUID } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import WebSocket from "ws";

const [url, says, heard] = process.argv.slice(2);
const speech = readFileSync(says).subarray(44); // behind the usual header
const FRAME = 320; // 20 ms
const frameOf = (samples, n) => Buffer.concat([samples.subarray(n * FRAME, (n + 1) * FRAME)], FRAME);
const socket = new WebSocket(url, { headers: { "X-API-Key": process.env.RINGFLEET_KEY } });
const send = (message) => socket.send(JSON.stringify(message));
let buffer = Buffer.alloc(0); // said by the bot, and not yet heard by the caller
const played = [];

function line(begun, n = 0) {
  if (socket.readyState !== WebSocket.OPEN) return;
  if (n * FRAME >= speech.length) return send({ event: "hangup-call", disconnectedBy: "customer" });
  send({ event: "media", payload: frameOf(speech, n).toString("base64") });
  played.push(frameOf(buffer, 0));
  buffer = buffer.subarray(FRAME);
  setTimeout(line, begun + (n + 1) * 20 - performance.now(), begun, n + 1);
}
socket.on("open", () => {
  send({ event: "connected", callerId: "+919876543210", did: "+911140001234", callDirection: "incoming",
         streamId: `stream-${randomUUID()}`, customer_name: "Peter", loan_number: "LN123456" });
  send({ event: "start", mediaFormat: { encoding: "LINEAR", sampleRate: 8000, channels: 1 } });
  send({ event: "answer" });
  line(performance.now());
});
socket.on("message", (text) => {
  const message = JSON.parse(text);
  if (message.event === "reverse-media") buffer = Buffer.concat([buffer, Buffer.from(message.payload, "base64")]);
  if (message.event === "reverse-media-stop") buffer = Buffer.alloc(0); // the caller broke in, or the call ends
  if (message.event === "reverse-hangup-call") console.log(message.message);
});
socket.on("close", () => { // a WAV is its header and samples
  const header = Buffer.from("RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data....", "latin1");
  header.writeUInt32LE(36 + played.length * FRAME, 4);
  header.writeUInt32LE(played.length * FRAME, 40);
  writeFileSync(heard, Buffer.concat([header, ...played]));
});
