// @google/genai for Node: a turn, a streamed turn, a function call, an object, a chat, and a stream
// that breaks off.
import { FunctionCallingConfigMode, GoogleGenAI } from "@google/genai";
import { city, description, hello, model, person, personSchema, question, report, url, versionOf } from "./task.mjs";

const ai = new GoogleGenAI({ apiKey: "none", httpOptions: { baseUrl: url } });
const greedy = { temperature: 0 };
const ask = (contents, config = {}) =>
  ai.models.generateContent({ model, contents, config: { ...greedy, ...config } });

let streamed = "";
const stream = await ai.models.generateContentStream({ model, contents: hello, config: greedy });
for await (const chunk of stream) streamed += chunk.text ?? "";
const tools = [{ functionDeclarations: [{ name: "get_weather", description, parametersJsonSchema: city }] }];
const toolConfig = { functionCallingConfig: { mode: FunctionCallingConfigMode.ANY } };
const chat = ai.chats.create({ model, config: greedy });
await chat.sendMessage({ message: hello });
let broken = "ended";
try {
  const httpOptions = {
    headers: { "X-Server-Timeout": "1" },
    extraBody: { generationConfig: { ignoreEos: true } },
  };
  const config = { candidateCount: 8, maxOutputTokens: 1900, httpOptions };
  for await (const _ of await ai.models.generateContentStream({ model, contents: hello, config }));
} catch (error) {
  broken = /DEADLINE_EXCEEDED/.test(String(error.message)) ? "raised" : String(error);
}
report({
  version: versionOf("@google/genai"),
  broken,
  plain: (await ask(hello)).text,
  streamed,
  call: (await ask(question, { tools })).functionCalls[0].args,
  forced: (await ask(hello, { tools, toolConfig, maxOutputTokens: 200 })).functionCalls[0].name,
  person: (await ask(person, { responseMimeType: "application/json", responseJsonSchema: personSchema })).text,
  second_turn: (await chat.sendMessage({ message: "Who are you?" })).text,
});
