// What one would write instead of the relay: the same job on Fastify and ws, on the same wire.
// Everything is in memory. No authentication, no durability, no windows, no redelivery, and no limit but a body's size.
import { randomUUID } from 'node:crypto';
import Fastify from 'fastify';
import { WebSocketServer } from 'ws';

const HOST = '127.0.0.1';
const PORT = Number(process.env.PORT ?? 0);
const BACKLOG = 4096; // Node's 511 drops connections when thousands of agents come at once
const MAX_BODY = 1 << 20;
const ACK_TIMEOUT = 5_000; // ms
const HEARTBEAT = 30_000; // ms

const agents = new Map(); // agent -> its WebSocket
const waiting = new Map(); // message id -> the POST that waits for its ACK
const queues = new Map(); // agent -> Map of message id -> frame, oldest first, until it is acknowledged

// --- publishers: HTTP ---

const app = Fastify({ logger: false, bodyLimit: MAX_BODY });

// JSON is checked and then passed on as it came: parsed once, and never written again.
app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
  try {
    JSON.parse(body);
    done(null, body);
  } catch (error) {
    error.statusCode = 400;
    done(error);
  }
});

const answer = {
  type: 'object',
  properties: { id: { type: 'string' }, agent: { type: 'string' }, status: { type: 'string' } },
};

app.post('/v1/agents/:agent/messages', { schema: { response: { 200: answer } } }, async (request) => {
  const { agent } = request.params;
  const id = randomUUID();
  const frame = `{"type":"message","id":"${id}","payload":${request.body}}`;
  const socket = agents.get(agent);
  const delivered = socket !== undefined && (await acknowledged(socket, id, frame));
  if (!delivered) enqueue(agent, id, frame);
  return { id, agent, status: delivered ? 'delivered' : 'queued' };
});

/** Send the frame; true when its ACK has come in time. */
function acknowledged(socket, id, frame) {
  return new Promise((resolve) => {
    const timer = setTimeout(settle, ACK_TIMEOUT, id, false);
    waiting.set(id, { socket, timer, resolve });
    socket.send(frame);
  });
}

function settle(id, delivered) {
  const post = waiting.get(id);
  if (post === undefined) return false;
  waiting.delete(id);
  clearTimeout(post.timer);
  post.resolve(delivered);
  return true;
}

function enqueue(agent, id, frame) {
  let queue = queues.get(agent);
  if (queue === undefined) queues.set(agent, (queue = new Map()));
  queue.set(id, frame);
}

// --- agents: WebSocket, on the same port ---

const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false, maxPayload: 2 << 20 });

app.server.on('upgrade', (request, connection, head) => {
  sockets.handleUpgrade(request, connection, head, (socket) => {
    socket.strikes = 0;
    socket.on('pong', heard);
    socket.on('message', received);
    socket.on('close', lost);
    socket.on('error', ignore);
  });
});

function heard() {
  this.strikes = 0;
}

function received(data) {
  let frame;
  try {
    frame = JSON.parse(data);
  } catch {
    return this.close(4004, 'invalid-frame');
  }
  if (frame.type === 'ack') {
    if (!settle(frame.id, true)) queues.get(this.agent)?.delete(frame.id);
  } else if (frame.type === 'register') {
    register(this, frame.agent);
  }
}

function register(socket, agent) {
  if (agents.has(agent)) return socket.close(4000, 'duplicate');
  socket.agent = agent;
  agents.set(agent, socket);
  socket.send(JSON.stringify({ type: 'registered', agent }));
  for (const frame of queues.get(agent)?.values() ?? []) socket.send(frame);
}

function lost() {
  if (agents.get(this.agent) === this) agents.delete(this.agent);
  for (const [id, post] of waiting) if (post.socket === this) settle(id, false);
}

function ignore() {} // 'close' follows

setInterval(() => {
  for (const socket of sockets.clients) {
    if (socket.strikes++ >= 2) socket.terminate();
    else socket.ping();
  }
}, HEARTBEAT);

process.on('SIGTERM', () => process.exit(0));

const url = await app.listen({ host: HOST, port: PORT, backlog: BACKLOG });
console.log(`peer listening on ${url}`);
