// Start the sidecar and keep what ends it; or, with `mark`, name the phase that begins.
"use strict";

const { call, find, line, parse, patience } = require("./egressmon.js");
const { Failure, input, mask, put, step } = require("./runner.js");

const TOKEN = /^[A-Za-z0-9_-]{16,256}$/;

async function main() {
  if (process.platform !== "linux") throw new Failure("egressmon watches Linux machines only");
  const timeout = patience(input("timeout"));
  const program = find(input("command") || "egressmon");
  const phase = input("mark");
  put("GITHUB_STATE", "mode", phase ? "mark" : "run");
  return phase ? mark(program, phase, timeout) : start(program, timeout);
}

async function mark(program, phase, timeout) {
  if (phase.startsWith("-")) throw new Failure("mark: a phase does not begin with -", 2);
  const { status, text } = await call(program, ["sidecar", "mark", phase], timeout);
  process.stdout.write(text);
  if (status !== 0) throw new Failure("the phase could not be marked", status);
  return 0;
}

async function start(program, timeout) {
  // Before there is a token to lose.
  put("GITHUB_STATE", "program", program);
  const words = ["sidecar", "--all", "--detach", "--json", ...options()];
  const { status, text } = await call(program, words, timeout);
  if (status !== 0) throw new Failure("the job is not monitored: egressmon did not start", status);
  const started = parse(text);
  const token = keep(started);
  try {
    put("GITHUB_STATE", "token", token);
  } catch (error) {
    // Nobody else could end it.
    await call(program, ["sidecar", "stop", "--token-stdin"], timeout, `${token}\n`).catch(() => {});
    throw error;
  }
  const run = line(started, "run", /^[A-Za-z0-9._-]{1,100}$/);
  const evidence = line(started, "evidence");
  put("GITHUB_STATE", "run", run);
  put("GITHUB_OUTPUT", "run", run);
  put("GITHUB_OUTPUT", "evidence", evidence);
  process.stdout.write(`egressmon: watching, run ${run}\n`);
  return 0;
}

// Each option as one word: no value can be taken for another option.
function options() {
  const named = ["policy", "enforce", "evidence"].map((name) => [name, input(name)]);
  return named.filter(([, value]) => value).map(([name, value]) => `--${name}=${value}`);
}

// Mask the token before anything else is said, whatever it is.
function keep(started) {
  if (typeof started.token === "string") mask(started.token);
  return line(started, "token", TOKEN);
}

step(main);
