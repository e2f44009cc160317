// Stands for an Electron application: this is its main process, Chromium its renderer.
import { spawn } from "node:child_process";
import { createServer } from "node:http";

const [port, profile] = process.argv.slice(2);
const page = `<script>setInterval(() => fetch("/beat", { method: "POST" }), 500)</script>`;
let beats = 0;

const server = createServer((request, response) => {
  if (request.url === "/beat") {
    beats += 1;
    if (beats === 1) console.log("the renderer is there");
    response.writeHead(204).end();
  } else if (request.url === "/alive") {
    response.writeHead(beats > 0 ? 200 : 503).end();
  } else {
    response.writeHead(200, { "Content-Type": "text/html" }).end(page);
  }
});

server.listen(Number(port), "127.0.0.1", () => {
  const renderer = spawn(
    process.env.CHROMIUM ?? "chromium",
    [
      "--headless", "--disable-gpu", `--user-data-dir=${profile}`, "--no-first-run",
      "--disable-background-networking", "--disable-component-update",
      "--disable-default-apps", "--disable-domain-reliability", "--disable-sync",
      "--metrics-recording-only", "--no-pings",
      ...(process.env.CHROMIUM_FLAGS ?? "").split(" ").filter(Boolean),
      "--remote-debugging-port=0",
      `http://127.0.0.1:${port}/`,
    ],
    { stdio: ["ignore", "inherit", "inherit"] },
  );
  const stop = () => renderer.kill("SIGTERM");
  process.on("SIGTERM", stop);
  renderer.on("exit", () => process.exit(0));
});
