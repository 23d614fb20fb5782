// openai for Node: chat, streamed by its helper, a tool call, Responses, an object.
import OpenAI from "openai";
import { city, description, hello, model, person, personSchema, question, report, url, versionOf } from "./task.mjs";

const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none" });
const chat = client.chat.completions;
const say = (content) => [{ role: "user", content }];
const plain = await chat.create({ model, messages: say(hello), temperature: 0 });
const stream = chat.stream({ model, messages: say(hello), temperature: 0 });
const tool = { type: "function", function: { name: "get_weather", description, parameters: city } };
const called = await chat
  .stream({ model, messages: say(question), tools: [tool], temperature: 0 })
  .finalChatCompletion();
const answered = client.responses.stream({ model, input: hello, temperature: 0 });
const parsed = await chat.create({
  model,
  messages: say(person),
  temperature: 0,
  response_format: { type: "json_schema", json_schema: { name: "person", schema: personSchema, strict: true } },
});
report({
  version: versionOf("openai"),
  plain: plain.choices[0].message.content,
  streamed: await stream.finalContent(),
  responses: (await answered.finalResponse()).output_text,
  call: called.choices[0].message.tool_calls[0].function.arguments,
  person: parsed.choices[0].message.content,
});
