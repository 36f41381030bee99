// Drives a daemon from Node.js with nothing but the published protos: submit, lease over the stream, ack, look.
// node drive.js ADDRESS PROTO_FOLDER; prints one JSON document, exits with 1 when something is not as promised.
'use strict';
const assert = require('node:assert');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [address, protoFolder] = process.argv.slice(2);
const services = ['job_service', 'worker_service', 'admin_service'].map((name) => `wheeld/v1/${name}.proto`);
const definition = loader.loadSync(services, {includeDirs: [protoFolder], longs: Number, enums: String, defaults: true, keepCase: true});
const api = grpc.loadPackageDefinition(definition).wheeld.v1;
const connect = (Service) => new Service(address, grpc.credentials.createInsecure());
const jobs = connect(api.JobService);
const workers = connect(api.WorkerService);
const admin = connect(api.AdminService);

// A unary call as a promise.
const call = (client, method, request) =>
  new Promise((resolve, reject) => client[method](request, (error, answer) => (error ? reject(error) : resolve(answer))));

const QUEUE = 'from-node';
const JOBS = 200;
const timeout = setTimeout(() => { console.error('not done within 20 s'); process.exit(1); }, 20000);

async function main() {
  const info = await call(admin, 'GetServerInfo', {});
  const dueMs = Date.now() + 700;
  const due = {seconds: Math.floor(dueMs / 1000), nanos: (dueMs % 1000) * 1e6};
  const wanted = Array.from({length: JOBS}, (_, number) => ({queue: QUEUE, type: 'foreign', payload: Buffer.from(`n${number}`), schedule_time: due}));
  const created = await call(jobs, 'BatchCreateJobs', {jobs: wanted});
  const ids = created.results.map((result) => result.job_id);
  assert.strictEqual(new Set(ids).size, JOBS);
  const refused = await call(jobs, 'CreateJob', {job: {queue: QUEUE}}).then(() => null, (error) => error);
  assert.strictEqual(refused.code, grpc.status.INVALID_ARGUMENT);

  const skewsMs = [];
  const acked = await new Promise((resolve, reject) => {
    const stream = workers.StreamLeases();
    const done = new Set();
    stream.on('error', reject);
    stream.on('data', (response) => {
      if (response.leases) {
        const now = Date.now();
        for (const lease of response.leases.leases) {
          assert.ok(ids.includes(lease.job_id) && lease.lease_token.length === 24 && now >= lease.schedule_time_ms);
          skewsMs.push(now - lease.schedule_time_ms);
        }
        const acks = response.leases.leases.map((lease) => ({lease_token: lease.lease_token, result: Buffer.from('ok')}));
        stream.write({settle: {acks}});
      } else if (response.settled) {
        for (const item of response.settled.items) {
          assert.strictEqual(item.code, 'ERROR_CODE_UNSPECIFIED');
          done.add(item.lease_token.toString('hex'));
        }
        if (done.size === JOBS) { stream.end(); resolve(done.size); }
      }
    });
    stream.write({open: {worker_id: 'node', session_id: `node-${process.pid}`, queues: [QUEUE], max_outstanding_jobs: 64}});
  });

  const job = (await call(jobs, 'GetJob', {job_id: ids[0]})).job;
  assert.strictEqual(job.state, 'JOB_STATE_SUCCEEDED');
  assert.strictEqual(job.result.toString(), 'ok');
  skewsMs.sort((a, b) => a - b);
  console.log(JSON.stringify({server: info.version, submitted: JOBS, acked, state: job.state, skew_ms: {first: skewsMs[0], last: skewsMs.at(-1)}}));
}

main().then(() => { clearTimeout(timeout); [jobs, workers, admin].forEach((client) => client.close()); },
  (error) => { console.error(error); process.exit(1); });
