// A plain Node.js app: serves on PORT, finishes what it has on SIGTERM, and exits.
'use strict';

const http = require('node:http');

const { PORT, BOOTCTL_APP = '-', BOOTCTL_INSTANCE = '-' } = process.env;

const pages = {
  '/': (request) =>
    `hello from node ${process.version}\napp: ${BOOTCTL_APP}\ninstance: ${BOOTCTL_INSTANCE}\npid: ${process.pid}\n` +
    ['host', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host']
      .map((name) => `${name}: ${request.headers[name] ?? '-'}\n`)
      .join(''),
  '/healthz': () => 'ok\n',
};

const server = http.createServer((request, response) => {
  const path = request.url.split('?', 1)[0];
  const page = Object.hasOwn(pages, path) ? pages[path] : undefined;
  const body = page ? page(request) : `no page ${path}\n`;
  response.writeHead(page ? 200 : 404, {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
});

// A proxy reuses connections: stay longer than it keeps one (node's own default is 5 s).
server.keepAliveTimeout = 75_000;
server.listen(Number(PORT), '127.0.0.1', () => console.log(`node: serving on 127.0.0.1:${PORT}`));

process.on('SIGTERM', () => {
  console.log('node: told to end');
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
