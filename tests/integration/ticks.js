// What a plain Node server writes: the reference for /demo/ticks/. Prints its port.
const http = require("node:http");

const server = http.createServer((request, response) => {
  if (request.url !== "/events") {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
  let seq = 0;
  const timer = setInterval(() => {
    response.write(`event: tick\ndata: ${JSON.stringify({ seq, message: `tick ${seq}` })}\n\n`);
    if (++seq < 3) return;
    clearInterval(timer);
    response.end();
  }, 150);
  request.on("close", () => clearInterval(timer));
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
