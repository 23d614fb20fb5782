// The Vercel AI SDK, with the provider named in the first argument.
import { createGoogleGenerativeAI } from "@ai-sdk/google";
import { createOpenAI } from "@ai-sdk/openai";
import { generateObject, generateText, jsonSchema, streamText, tool } from "ai";
import { city, description, hello, model as name, person, personSchema, question, report, url, versionOf } from "./task.mjs";

const provider = process.argv[2];
const model = {
  "openai-chat": () => createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" }).chat(name),
  "openai-responses": () => createOpenAI({ baseURL: `${url}/v1`, apiKey: "none" }).responses(name),
  google: () => createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: "none" })(name),
}[provider]();
const tools = { get_weather: tool({ description, inputSchema: jsonSchema(city) }) };
const greedy = { model, temperature: 0 };
let streamed = "";
for await (const text of streamText({ ...greedy, prompt: hello }).textStream) streamed += text;
const called = await generateText({ ...greedy, prompt: question, tools });
const forced = await generateText({ ...greedy, prompt: hello, tools, toolChoice: "required" });
const made = await generateObject({ ...greedy, prompt: person, schema: jsonSchema(personSchema) });
report({
  version: versionOf("ai"),
  plain: (await generateText({ ...greedy, prompt: hello })).text,
  streamed,
  call: called.toolCalls[0].input,
  forced: forced.toolCalls[0].toolName,
  person: made.object,
});
