// One conversation of npm's `openai`, with a tool. Prints the answers and the items that it holds.
import OpenAI from 'openai';
import { ResponsesWS } from 'openai/resources/responses/ws';

// The key and the base URL come from OPENAI_API_KEY and OPENAI_BASE_URL, as in any program.
const client = new OpenAI({ maxRetries: 0 });
const model = 'mixed';
const tools = [
  {
    type: 'function',
    name: 'get_weather',
    description: 'The weather in a city.',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' } },
      required: ['city'],
      additionalProperties: false,
    },
    strict: true,
  },
];
const getWeather = ({ city }) => `12 degrees in ${city}`;

const { HOW, TURNS } = process.env;
const socket = HOW === 'websocket' ? new ResponsesWS(client) : null;
const items = [];
const answers = [];
let parent;

// One response to what is new: its history or its parent is sent along.
async function respond(added) {
  items.push(...added);
  const context =
    HOW === 'ids' || socket ? { input: added, previous_response_id: parent } : { input: items };
  const body = { model, tools, ...context };
  let response;
  if (socket) {
    socket.send({ type: 'response.create', ...body });
    for await (const { type, message, error } of socket.stream()) {
      if (type === 'error') throw error;
      if (message?.type === 'response.completed') {
        response = message.response;
        break;
      }
    }
  } else if (HOW === 'stream') {
    const stream = await client.responses.create({ ...body, stream: true });
    for await (const event of stream) {
      if (event.type === 'response.completed') response = event.response;
    }
  } else {
    response = await client.responses.create(body);
  }
  parent = response.id;
  items.push(...response.output);
  return response;
}

for (const question of JSON.parse(TURNS)) {
  let added = [{ role: 'user', content: question }];
  for (;;) {
    const { output } = await respond(added);
    const calls = output.filter(({ type }) => type === 'function_call');
    if (calls.length === 0) {
      const message = output.find(({ type }) => type === 'message');
      answers.push(message.content.map(({ text }) => text).join(''));
      break;
    }
    added = calls.map((call) => ({
      type: 'function_call_output',
      call_id: call.call_id,
      output: getWeather(JSON.parse(call.arguments)),
    }));
  }
}
socket?.close();
console.log(JSON.stringify({ answers, items }));
