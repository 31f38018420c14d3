// What four JavaScript clients make of the service, as one line of JSON.
// Arguments: the origins of two replicas.

import { createHash } from "node:crypto";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { DallEAPIWrapper } from "@langchain/openai";
import { generateImage } from "ai";
import OpenAI, { toFile } from "openai";

const [first, second] = process.argv.slice(2).map((origin) => `${origin}/v1`);
const PROMPT = "a lighthouse in a storm";
const apiKey = "sk-any";

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
const decoded = (text) => digest(Buffer.from(text, "base64"));

async function openai() {
  const client = new OpenAI({ apiKey, baseURL: first });
  const said = {};
  const painted = await client.images.generate({ prompt: PROMPT });
  said.generate = decoded(painted.data[0].b64_json);
  said.usage = painted.usage.total_tokens;
  const picture = Buffer.from(painted.data[0].b64_json, "base64");
  const file = await toFile(picture, "one.png", { type: "image/png" });
  const edited = await client.images.edit({ prompt: "with a hat", image: file });
  said.edit = decoded(edited.data[0].b64_json);
  const both = await client.images.edit({
    prompt: "with a hat",
    image: [file, await toFile(picture, "two.png", { type: "image/png" })],
  });
  said.edit_of_two = decoded(both.data[0].b64_json);
  const stream = await client.images.generate({ prompt: "a fox", stream: true });
  for await (const event of stream) {
    said.stream = [event.type, decoded(event.b64_json)];
  }
  said.models = [];
  for await (const model of client.models.list()) said.models.push(model.id);
  said.errors = [];
  for (const body of [
    { prompt: "refused" },
    { prompt: PROMPT, model: "no-such-model" },
    { prompt: PROMPT, size: "9x9" },
  ]) {
    try {
      await client.images.generate(body);
    } catch (error) {
      const asked = Boolean(error.requestID) && error.message.length > 10;
      said.errors.push([error.constructor.name, error.status, error.code, error.param, asked]);
    }
  }
  return said;
}

async function ai_sdk() {
  const said = {};
  const one = createOpenAI({ apiKey, baseURL: second }).image("gpt-image-1");
  const other = createOpenAICompatible({ name: "paintonce", apiKey, baseURL: second });
  const painted = await generateImage({ model: one, prompt: PROMPT });
  said.openai = digest(painted.image.uint8Array);
  const two = await generateImage({ model: one, prompt: PROMPT, n: 2 });
  said.openai_n = new Set(two.images.map((image) => digest(image.uint8Array))).size;
  const compatible = await generateImage({ model: other.imageModel("default"), prompt: PROMPT });
  said.compatible = digest(compatible.image.uint8Array);
  const prompt = { text: "with a hat", images: [painted.image.uint8Array] };
  said.openai_edit = digest((await generateImage({ model: one, prompt })).image.uint8Array);
  const edited = await generateImage({ model: other.imageModel("default"), prompt });
  said.compatible_edit = digest(edited.image.uint8Array);
  return said;
}

async function langchain() {
  const tool = new DallEAPIWrapper({ apiKey, baseUrl: first, model: "dall-e-3", size: "auto" });
  const url = await tool.invoke(PROMPT);
  // As some clients do: a permalink must not stumble over a key.
  const fetched = await fetch(url, { headers: { Authorization: `Bearer ${apiKey}` } });
  return { url: digest(Buffer.from(await fetched.arrayBuffer())) };
}

const said = {};
for (const talk of [openai, ai_sdk, langchain]) said[talk.name] = await talk();
console.log(JSON.stringify(said));
