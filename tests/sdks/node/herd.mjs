// The same request from several clients at once, over two replicas.
// Arguments: the origins of two replicas, the prompt, and how many requests.

import { createHash } from "node:crypto";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";
import OpenAI from "openai";

const [first, second, prompt, count] = process.argv.slice(2);
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function asked(number) {
  const baseURL = `${number % 2 ? first : second}/v1`;
  if (number % 3 === 0) {
    const provider = createOpenAICompatible({ name: "paintonce", apiKey: "any", baseURL });
    const painted = await generateImage({ model: provider.imageModel("default"), prompt });
    return digest(painted.image.uint8Array);
  }
  const painted = await new OpenAI({ apiKey: "any", baseURL }).images.generate({ prompt });
  return digest(Buffer.from(painted.data[0].b64_json, "base64"));
}

const numbers = Array.from({ length: Number(count) }, (_, number) => number);
console.log(JSON.stringify(await Promise.all(numbers.map(asked))));
