// How to talk to GitHub's runner: environment files, workflow commands, inputs.
//
// After docs.github.com, "Workflow commands for GitHub Actions". No dependencies: what a
// job runs is what is read here.
"use strict";

const { appendFileSync } = require("node:fs");
const { randomUUID } = require("node:crypto");

const LONGEST = 1000;

// Why the step cannot go on; `status` becomes that of the step.
class Failure extends Error {
  constructor(message, status = 125) {
    super(message);
    this.status = status;
  }
}

// The runner keeps hyphens in these names, which a shell could not read: use none.
function input(name) {
  return (process.env[`INPUT_${name.toUpperCase()}`] || "").trim();
}

// An entry with a delimiter that no value can know, and so not end.
function put(file, name, value) {
  const path = process.env[file];
  if (!path) throw new Failure(`${file} is not set: this is no step of GitHub Actions`);
  const end = `end-${randomUUID()}`;
  try {
    appendFileSync(path, `${name}<<${end}\n${value}\n${end}\n`);
  } catch (error) {
    throw new Failure(`${file} cannot be written: ${error.code}`);
  }
}

// What is in a message came from elsewhere: one line, of nothing that controls or hides,
// and no command of the runner's older kind, which it carries out anywhere in a line.
function printable(text) {
  const short = text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
  return short.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, "?").replace(/##(?=\[)/g, "#?");
}

function command(level, text) {
  const escaped = printable(text).replace(/%/g, "%25");
  process.stdout.write(`::${level} title=egressmon::${escaped}\n`);
}

// Each line by itself, as the log is searched line by line.
function mask(secret) {
  for (const line of secret.split(/[\r\n]+/)) {
    if (line) process.stdout.write(`::add-mask::${line.replace(/%/g, "%25")}\n`);
  }
}

// Run `main`; whatever goes wrong in it fails the step, and so the job.
async function step(main) {
  let status = 125;
  try {
    status = await main();
  } catch (error) {
    const known = error instanceof Failure;
    command("error", known ? error.message : `a defect of the action: ${error.message}`);
    status = known ? error.status : 125;
  }
  // A child that cannot be killed, as it is root's, must not keep the step.
  process.stderr.write("", () => process.stdout.write("", () => process.exit(status)));
}

module.exports = { Failure, command, input, mask, printable, put, step };
