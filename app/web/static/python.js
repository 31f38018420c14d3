/** The ready lines of Python, for OpenAI's own client. */

import { settings } from "./settings.js";

/** A text as Python writes it: JSON's escapes mean the same there. */
const text = JSON.stringify;

/** Return a program that asks for what is *wanted*. */
export function pythonLines({ prompt, model, aspect_ratio: ratio, seed }) {
  const key = settings.key ? 'os.environ["PAINTONCE_API_KEY"]' : text("any");
  const client = [`base_url=${text(`${location.origin}/v1`)}`, `api_key=${key}`];
  if (settings.project) client.push(`project=${text(settings.project)}`);
  const asked = [`prompt=${text(prompt)}`];
  if (model) asked.push(`model=${text(model)}`);
  const more = [];
  if (ratio) more.push(`"aspect_ratio": ${text(ratio)}`);
  if (seed) more.push(`"seed": ${Number(seed)}`);
  if (more.length) asked.push(`extra_body={${more.join(", ")}}`);
  asked.push('response_format="url"');
  return [
    ...(settings.key ? ["import os", ""] : []),
    "from openai import OpenAI",
    "",
    `client = OpenAI(${client.join(", ")})`,
    `painted = client.images.generate(${asked.join(", ")})`,
    "print(painted.data[0].url)",
  ].join("\n");
}
