// A HIT with Express, ioredis and the MinIO client: one pipeline that counts,
// then the bytes, from memory (BYTES=memory) or from the store.
import { createHash } from "node:crypto";
import express from "express";
import Redis from "ioredis";
import { Client } from "minio";

const endpoint = new URL(process.env.AWS_ENDPOINT_URL_S3);
const bucket = process.env.S3_BUCKET;
const redis = new Redis(process.env.REDIS_URL);
const store = new Client({
  endPoint: endpoint.hostname,
  port: Number(endpoint.port),
  useSSL: endpoint.protocol === "https:",
  accessKey: process.env.AWS_ACCESS_KEY_ID,
  secretKey: process.env.AWS_SECRET_ACCESS_KEY,
});
const memory = process.env.BYTES === "memory" ? new Map() : null;

function hashOf(query) {
  return createHash("sha256").update(JSON.stringify([query.model ?? "default", query.prompt])).digest("hex");
}

async function bytesOf(key) {
  const kept = memory?.get(key);
  if (kept) return kept;
  const chunks = [];
  for await (const chunk of await store.getObject(bucket, key)) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  memory?.set(key, bytes);
  return bytes;
}

const app = express();
app.disable("x-powered-by");
app.set("etag", false);

app.get("/api/v1/live/generate", async (request, response) => {
  if (request.get("X-API-Key") !== process.env.ADMIN_API_KEY) {
    response.status(401).end();
    return;
  }
  const hash = hashOf(request.query);
  const [[, entry], [, hits]] = await redis
    .pipeline()
    .hgetall(`node:${hash}`)
    .incr(`node:${hash}:hits`)
    .hset(`node:${hash}`, "accessed", Date.now())
    .exec();
  response.set(JSON.parse(entry.headers));
  response.set("X-Cache-Hit-Count", String(hits));
  if (memory) {
    response.send(await bytesOf(entry.key));
  } else {
    response.set("Content-Length", entry.size);
    (await store.getObject(bucket, entry.key)).pipe(response);
  }
});

// What is there to be found: the key, the size and the headers of one picture.
const seed = JSON.parse(process.env.SEED);
await redis.hset(`node:${hashOf({ prompt: seed.prompt })}`, seed.entry);
const listener = app.listen(0, "127.0.0.1", () => {
  console.log(JSON.stringify({ port: listener.address().port }));
});
