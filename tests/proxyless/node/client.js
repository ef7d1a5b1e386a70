// Calls a target again and again, and prints what came of each call: the counterpart of
// ../client.py in Node.js, with the same arguments and the same lines.
const grpc = require("@grpc/grpc-js");

require("@grpc/grpc-js-xds").register();

const METHOD = "/plimsoll.test.Embedder/Embed";
const PAUSE = 5;
const plain = (data) => data;

const [target, most] = process.argv.slice(2);
const client = new grpc.Client(target, grpc.credentials.createInsecure());
let inFlight = 0;

setInterval(() => {
  if (inFlight >= Number(most)) return;
  inFlight += 1;
  const options = { deadline: Date.now() + 30_000 };
  client.makeUnaryRequest(METHOD, plain, plain, Buffer.from("a text"), options, (error, answer) => {
    inFlight -= 1;
    console.log(error ? `${grpc.status[error.code]} ${JSON.stringify(error.details)}` : String(answer));
  });
}, PAUSE);
