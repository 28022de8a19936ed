// One conversation of LiveKit's JavaScript plugin, with a tool. Prints the answers and the items that it holds.
import { initializeLogger, llm } from '@livekit/agents';
import * as openai from '@livekit/agents-plugin-openai';

initializeLogger({ pretty: false, level: 'silent' });

const model = new openai.responses.LLM({
  model: 'gpt-5.5',
  apiKey: process.env.OPENAI_API_KEY,
  baseURL: process.env.OPENAI_BASE_URL,
  useWebSocket: process.env.HOW === 'websocket',
});
const getWeather = llm.tool({
  name: 'get_weather',
  description: 'The weather in a city.',
  parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  execute: async ({ city }) => `12 degrees in ${city}`,
});
const toolCtx = new llm.ToolContext([getWeather]);
const chatCtx = llm.ChatContext.empty();
const answers = [];

// The clock of the items has milliseconds, and equal times have no order.
const inOrder = () => ({ createdAt: chatCtx.items.length + 1 });

for (const question of JSON.parse(process.env.TURNS)) {
  chatCtx.addMessage({ role: 'user', content: question, ...inOrder() });
  for (;;) {
    const { text, toolCalls } = await model.chat({ chatCtx, toolCtx }).collect();
    if (text) chatCtx.addMessage({ role: 'assistant', content: text, ...inOrder() });
    if (toolCalls.length === 0) {
      answers.push(text);
      break;
    }
    for (const { callId, name, args } of toolCalls) {
      chatCtx.insert(llm.FunctionCall.create({ callId, name, args, ...inOrder() }));
      const output = await getWeather.execute(JSON.parse(args));
      chatCtx.insert(
        llm.FunctionCallOutput.create({ callId, name, output, isError: false, ...inOrder() }),
      );
    }
  }
}
const items = await chatCtx.toProviderFormat('openai.responses');
console.log(JSON.stringify({ answers, items }));
await model.aclose();
