// Calls a node as @grpc/grpc-js does, with messages made by hand.
//
// client.js HOST:PORT [CA.pem]: over TLS if an authority is given. Prints
// "ok CASE" for each case, and ends with an error at the first that fails.
'use strict';
const fs = require('node:fs');
const grpc = require('@grpc/grpc-js');

const RLS = '/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit';
const CHECK = '/headgate.v1.DecisionService/Check';
const OK = 1, OVER_LIMIT = 2; // also ALLOWED and DENIED
const BURST = 100, CROWD = 150;

function varint(n) {
  const out = [];
  for (; n > 127; n >>>= 7) out.push((n & 127) | 128);
  out.push(n);
  return Buffer.from(out);
}

const field = (number, value) => Buffer.concat([varint((number << 3) | 2), varint(value.length), value]);
const entry = (key, value) => Buffer.concat([field(1, Buffer.from(key)), field(2, Buffer.from(value))]);
const rls = (key, value) => Buffer.concat([field(1, Buffer.from('edge')), field(2, field(1, entry(key, value)))]);
const check = (key, value) => Buffer.concat([field(1, Buffer.from('edge')), field(2, entry(key, value))]);

function same(name, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    console.error(`${name}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
    process.exit(1);
  }
  console.log('ok', name);
}

async function main(address, authority) {
  const creds = authority ? grpc.credentials.createSsl(fs.readFileSync(authority)) : grpc.credentials.createInsecure();
  const whole = (b) => b;
  const caller = (options) => {
    const client = new grpc.Client(address, creds, options);
    return (path, message, { metadata = new grpc.Metadata(), deadline = Date.now() + 10000 } = {}) =>
      new Promise((resolve) => {
        client.makeUnaryRequest(path, whole, whole, message, metadata, { deadline }, (err, answer) => {
          if (err) return resolve({ status: err.code, told: err.details.length > 0 });
          if (answer[0] !== 8) throw new Error('no field 1 at the start'); // a varint
          resolve({ code: answer[1] });
        });
      });
  };
  const call = caller({});
  const zipped = caller({ 'grpc.default_compression_algorithm': 2 });
  const user = authority ? 'node-tls' : 'node';
  const large = Buffer.concat([rls('user', 'mallory'), field(1000, Buffer.alloc(500000))]);
  const tooLarge = Buffer.concat([rls('user', 'mallory'), field(1000, Buffer.alloc(1100000))]);
  const metadata = new grpc.Metadata();
  metadata.set('x-text', 'a');
  metadata.set('x-bytes-bin', Buffer.from([0, 255]));
  metadata.set('authorization', 'Bearer x');

  same('allowed', await call(RLS, rls('user', `${user}-1`)), { code: OK });
  same('denied', await call(RLS, rls('user', 'mallory')), { code: OVER_LIMIT });
  same('native allowed', await call(CHECK, check('user', `${user}-2`)), { code: OK });
  same('native denied', await call(CHECK, check('user', 'mallory')), { code: OVER_LIMIT });
  same('metadata', await call(RLS, rls('user', 'mallory'), { metadata }), { code: OVER_LIMIT });
  same('large message', await call(RLS, large), { code: OVER_LIMIT });
  same('too large message', await call(RLS, tooLarge), { status: grpc.status.RESOURCE_EXHAUSTED, told: true });
  same('gzip', await zipped(RLS, large), { code: OVER_LIMIT });
  same('error', await call(RLS, Buffer.alloc(0)), { status: grpc.status.INVALID_ARGUMENT, told: true });
  same('unknown method', await call(`${CHECK}Nothing`, Buffer.alloc(0)), { status: grpc.status.UNIMPLEMENTED, told: true });
  const watched = await new Promise((resolve) => {
    const seen = [];
    const client = new grpc.Client(address, creds);
    client.makeServerStreamRequest('/grpc.health.v1.Health/Watch', whole, whole, Buffer.alloc(0), new grpc.Metadata(), { deadline: Date.now() + 500 })
      .on('data', (b) => seen.push(b[1])).on('error', (err) => resolve([seen, err.code]));
  });
  same('stream', watched[0], [1]); // SERVING, and then nothing until
  // Both ends know the deadline; the health service calls it CANCELLED.
  same('deadline', [grpc.status.DEADLINE_EXCEEDED, grpc.status.CANCELLED].includes(watched[1]), true);
  const answers = await Promise.all(Array.from({ length: CROWD }, () => call(RLS, rls('user', `${user}-crowd`))));
  const count = (code) => answers.filter((a) => a.code === code).length;
  same('crowd', [count(OK), count(OVER_LIMIT)], [BURST, CROWD - BURST]);
  process.exit(0);
}

main(...process.argv.slice(2));
