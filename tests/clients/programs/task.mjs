// What every Node client is asked, and how it tells what it got.

import { readFileSync } from "node:fs";

export const url = process.env.DIGLOT_URL;
export const model = process.env.DIGLOT_MODEL;
export const hello = "Hello!";
export const question = "What is the weather in Paris?";
export const person = "Extract name and age: Anna is 31 years old.";
export const description = "Get the current weather in a given city.";
export const city = {
  type: "object",
  properties: { city: { type: "string", description: "The city" } },
  required: ["city"],
};
export const personSchema = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};

// The last line of the program: one JSON object.
export const report = (found) => console.log(JSON.stringify(found));

export const versionOf = (name) =>
  JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url))).version;
