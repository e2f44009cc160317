// The same as client.py, with an SDK for Node: `node client.mjs SDK MARKS`. SDKs are those
// in the folder `node_modules` of SURFACES_MODULES.
import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const asked = [{ role: "user", content: "Are you ready?" }];
const timeout = 20_000;
const sdks = {
  "@anthropic-ai/sdk": (sdk) => {
    const client = new sdk.Anthropic({ timeout });
    return (model) => client.messages.create({ model, max_tokens: 8, messages: asked });
  },
  openai: (sdk) => {
    const client = new sdk.OpenAI({ timeout });
    return (model) => client.chat.completions.create({ model, max_tokens: 8, messages: asked });
  },
};

const [name, marks] = process.argv.slice(2);
const mark = (phase) => {
  const ns = BigInt(Math.round((performance.timeOrigin + performance.now()) * 1e6));
  appendFileSync(marks, `{"phase": ${JSON.stringify(phase)}, "ns": ${ns}}\n`);
};

const from = createRequire(join(process.env.SURFACES_MODULES, "from.js"));
mark("import");
const sdk = await import(pathToFileURL(from.resolve(name)));
mark("client");
const call = sdks[name](sdk);
const phases = [["first call", "stand-in"], ["second call", "stand-in"], ["retry", "overloaded"]];
for (const [phase, model] of phases) {
  mark(phase);
  try {
    await call(model);
  } catch (error) {
    console.error(`${phase}: ${error}`);
  }
  // What was done has its turn to put the connection back.
  for (let turn = 0; turn < 10; turn++) await new Promise(setImmediate);
}
mark("end");
