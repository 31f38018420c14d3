/** The API page: /openapi.json, for reading. */

import { at, element, showProblem } from "./elements.js";

const METHODS = ["get", "head", "post", "put", "delete"];

function resolve(api, node) {
  if (!node?.$ref) return node ?? {};
  return node.$ref.slice(2).split("/").reduce((found, name) => found[name], api);
}

/** Return text as nodes: what stands between backquotes is code. */
const prose = (text = "") => text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));

/** Return what a schema allows, in a line. */
function form(api, node) {
  const schema = resolve(api, node);
  if (schema.enum) return schema.enum.map(String).join(" | ");
  if (schema.const !== undefined) return String(schema.const);
  const either = schema.oneOf ?? schema.anyOf;
  if (either) return either.map((one) => form(api, one)).join(", or ");
  if (schema.type === "array") return `list of ${form(api, schema.items)}`;
  const words = [[schema.format ?? schema.type ?? "anything"].flat().join(" or ")];
  const { minimum, maximum, minLength, maxLength } = schema;
  if (minimum !== undefined || maximum !== undefined) words.push(bounds(minimum, maximum, ""));
  if (minLength !== undefined || maxLength !== undefined) words.push(bounds(minLength, maxLength, " characters"));
  if (schema.pattern) words.push(schema.pattern);
  if (schema.default !== undefined) words.push(`unless given ${schema.default}`);
  return words.join(", ");
}

function bounds(least, most, unit) {
  if (most === undefined) return `${least} or more${unit}`;
  return least === undefined ? `up to ${most}${unit}` : `${least} to ${most}${unit}`;
}

function fields(api, node) {
  const schema = resolve(api, node);
  const { properties = {}, required = [] } = schema.type === "array" ? resolve(api, schema.items) : schema;
  return list(Object.entries(properties).map(([name, one]) => (
    [name, required.includes(name), form(api, one), resolve(api, one).description]
  )));
}

function list(rows) {
  return element("dl", {}, ...rows.flatMap(([name, isRequired, allowed, told]) => [
    element("dt", {}, element("code", {}, name), isRequired ? " required" : ""),
    element("dd", {}, element("code", {}, allowed), told ? ": " : "", ...prose(told)),
  ]));
}

function parameters(api, all) {
  const known = all.map((one) => resolve(api, one));
  if (!known.length) return [];
  const rows = known.map((one) => [`${one.name} (${one.in})`, one.required, form(api, one.schema), one.description]);
  return [element("h4", {}, "Parameters"), list(rows)];
}

function body(api, node) {
  if (!node) return [];
  return Object.entries(resolve(api, node).content).flatMap(([type, { schema }]) => [
    element("h4", {}, "Body: ", element("code", {}, type)),
    fields(api, schema),
  ]);
}

function answers(api, all) {
  return Object.entries(all).map(([status, node]) => {
    const answer = resolve(api, node), title = status === "default" ? "any error" : status;
    const inside = [element("summary", {}, element("b", {}, title), " ", ...prose(answer.description))];
    for (const [name, header] of Object.entries(answer.headers ?? {})) {
      inside.push(list([[name, false, form(api, resolve(api, header).schema), resolve(api, header).description]]));
    }
    for (const [type, { schema, example }] of Object.entries(answer.content ?? {})) {
      inside.push(element("h4", {}, element("code", {}, type)));
      if (schema) inside.push(fields(api, schema));
      if (example) inside.push(element("pre", { tabindex: 0, role: "region", "aria-label": `Example of ${title}` }, JSON.stringify(example, null, 2)));
    }
    return element("details", {}, ...inside);
  });
}

function operation(api, path, method, shared) {
  const one = api.paths[path][method];
  return element("article", { class: "operation", id: one.operationId, "aria-labelledby": `${one.operationId}-title` },
    element("h3", { id: `${one.operationId}-title` }, one.summary),
    element("code", { class: "address" }, element("span", { class: "method" }, method.toUpperCase()), ` ${path}`),
    element("p", {}, ...prose(one.description)),
    ...parameters(api, [...shared, ...(one.parameters ?? [])]),
    ...body(api, one.requestBody),
    element("h4", {}, "Answers"),
    ...answers(api, one.responses));
}

function show(api) {
  at("introduction").append(
    element("p", { class: "display" }, api.info.summary),
    element("p", {}, ...prose(api.info.description)),
    element("p", { class: "soft small" }, `Version ${api.info.version}, OpenAPI ${api.openapi}`));
  for (const tag of api.tags) {
    const entries = element("ul");
    at("contents").append(element("section", {}, element("h2", {}, tag.name), entries));
    at("operations").append(element("h2", {}, tag.name), element("p", { class: "soft" }, ...prose(tag.description)));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS.filter((name) => item[name]?.tags.includes(tag.name))) {
        const { operationId } = item[method];
        entries.append(element("li", {}, element("a", { href: `#${operationId}` }, element("code", {}, `${method.toUpperCase()} ${path}`))));
        at("operations").append(operation(api, path, method, item.parameters ?? []));
      }
    }
  }
  // The place that the address names did not exist before.
  if (location.hash) at(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

try {
  show(await (await fetch("/openapi.json")).json());
} catch {
  showProblem(at("problem"), { title: "No description", detail: "/openapi.json can't be read now." });
}
