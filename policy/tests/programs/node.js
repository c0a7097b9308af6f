// What Node programs commonly do; ends with "node works".
const { Worker, isMainThread, parentPort } = require('worker_threads');
const assert = require('assert');
const { execSync, fork } = require('child_process');
const fs = require('fs');
const net = require('net');

const once = (emitter, event) =>
  new Promise((resolve, reject) => emitter.on(event, resolve).on('error', reject));

async function main() {
  assert.equal(await once(new Worker(__filename), 'message'), 42);
  assert.equal(execSync('echo hi').toString(), 'hi\n');
  assert.equal(await once(fork(__filename, ['child']), 'message'), 'x');

  fs.writeFileSync('/tmp/n', 'x');
  await fs.promises.copyFile('/tmp/n', '/tmp/m');
  fs.cpSync('/tmp/n', '/tmp/o');
  assert(fs.readdirSync('/tmp').includes('m'));
  const watcher = fs.watch('/tmp');
  const changed = once(watcher, 'change');
  fs.writeFileSync('/tmp/n2', 'y');
  await changed;
  watcher.close();

  const server = net.createServer((connection) => connection.end('k')).listen('/tmp/socket');
  await once(server, 'listening');
  assert.equal((await once(net.connect('/tmp/socket'), 'data')).toString(), 'k');
  server.close();

  require('os').networkInterfaces();
  require('zlib').gzipSync('x');
  require('crypto').pbkdf2Sync('a', 'b', 10, 10, 'sha1');
  console.log('node works');
}

if (process.argv[2] === 'child') {
  process.send('x');
  process.disconnect();
} else if (!isMainThread) {
  parentPort.postMessage(42);
} else {
  main().catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
