// Call egressmon, within bounds, and read what it answers.
"use strict";

const { spawn } = require("node:child_process");
const { accessSync, constants, statSync } = require("node:fs");
const { delimiter, isAbsolute, join } = require("node:path");
const { Failure, printable } = require("./runner.js");

const MOST_BYTES = 1 << 20;
const AFTER_EXIT_MS = 2000;
const SIGNALS = ["SIGINT", "SIGTERM"];
// Where `egressmon install` puts its link; see docs/usage.md, "Installing".
const INSTALLED = ["/opt", "/usr/local/lib", "/var/lib"].map((at) => `${at}/egressmon/bin`);
// A step before may have changed PATH, and much else, for the steps that follow.
const PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const KEPT = /^(CI|HOME|LANG|LC_\w+|USER|GITHUB_\w+|RUNNER_\w+)$/;
// By its tracking id the runner finds, and kills, what a step leaves running.
const OURS = /^(GITHUB_(ENV|OUTPUT|PATH|STATE|TOKEN)|RUNNER_TRACKING_ID)$/;

// Return the absolute path of `name`, which later steps cannot change by their PATH.
function find(name) {
  if (isAbsolute(name)) {
    if (isProgram(name)) return name;
    throw new Failure(`there is no program ${name}`);
  }
  if (name.includes("/")) throw new Failure(`command: ${name} is no absolute path`);
  const folders = (process.env.PATH || "").split(delimiter).filter(isAbsolute);
  for (const folder of [...folders, ...INSTALLED]) {
    if (isProgram(join(folder, name))) return join(folder, name);
  }
  throw new Failure(`there is no ${name} on the PATH: install egressmon in a step before`);
}

function isProgram(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function environment() {
  const kept = Object.entries(process.env).filter(([name]) => KEPT.test(name) && !OURS.test(name));
  return { ...Object.fromEntries(kept), PATH };
}

// Call `program` and return {status, text}: its exit status and standard output. What it
// writes to standard error goes to the log. `given` goes to its standard input.
function call(program, words, timeout, given = "") {
  const child = spawn(program, words, {
    detached: true, // a process group of its own, to be killed as one
    env: environment(),
    stdio: ["pipe", "pipe", "pipe"], // what it leaves running must not hold the log open
  });
  return new Promise((resolve, reject) => {
    let text = "";
    let status = null;
    // In a process group of its own it does not get what the runner sends to end this.
    const cancelled = () => end("the step was cancelled");
    const end = (failure) => {
      clearTimeout(timer);
      for (const one of SIGNALS) process.off(one, cancelled);
      if (failure) {
        kill(child);
        reject(new Failure(failure));
      } else resolve({ status, text });
    };
    const timer = setTimeout(() => end(`egressmon took more than ${timeout} s`), timeout * 1000);
    for (const one of SIGNALS) process.once(one, cancelled);
    child.on("error", (error) => end(`egressmon could not be run: ${error.code}`));
    child.stdin.on("error", () => {}); // it ended without reading
    child.stdin.end(given);
    child.stderr.on("data", (part) => process.stderr.write(part));
    child.stdout.setEncoding("utf8");
    child.stdout.on("data", (part) => {
      text += part;
      if (text.length > MOST_BYTES) end("egressmon wrote more than can be an answer");
    });
    child.on("exit", (code, signal) => {
      status = code;
      if (signal) end(`egressmon was ended by ${signal}`);
      // What it left running may hold the pipe open.
      else setTimeout(end, AFTER_EXIT_MS);
    });
    child.on("close", () => end());
  });
}

function kill(child) {
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It is gone, or root's.
  }
}

// Return the one JSON object that `text` is. The text itself is never told: it may hold
// the token.
function parse(text) {
  let found;
  try {
    found = JSON.parse(text);
  } catch {
    throw new Failure("egressmon's answer is no JSON");
  }
  if (found === null || typeof found !== "object" || Array.isArray(found)) {
    throw new Failure("egressmon's answer is no object");
  }
  return found;
}

// Return a text of `answer` that is one line, or fail.
function line(answer, name, form = /^[^\u0000-\u001f\u007f]{1,4096}$/) {
  const found = Object.hasOwn(answer, name) ? answer[name] : undefined;
  if (typeof found !== "string" || !form.test(found)) {
    throw new Failure(`egressmon's answer has no usable ${name}`);
  }
  return found;
}

// Return a count of `answer`, or fail.
function count(answer, name) {
  const found = Object.hasOwn(answer, name) ? answer[name] : undefined;
  if (Number.isSafeInteger(found) && found >= 0) return found;
  throw new Failure(`egressmon's answer has no usable ${name}`);
}

// Return how long egressmon may take, in seconds.
function patience(text) {
  const seconds = Number(text || "300");
  if (!Number.isFinite(seconds) || seconds <= 0 || seconds > 86400) {
    throw new Failure(`timeout: ${printable(text)} is no number of seconds`, 2);
  }
  return seconds;
}

module.exports = { call, count, find, line, parse, patience };
