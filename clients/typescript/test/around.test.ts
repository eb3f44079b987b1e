import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { context, propagation, trace, TraceFlags } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { connectNodeAdapter } from "@connectrpc/connect-node";

import { AssetService } from "../src/gen/assetd/v1/asset_service_pb.js";
import { AssetdError, Client } from "../src/index.js";
import { completed, play, ScriptedDaemon, started, temporaryFolder } from "./daemon.js";

test("calls carry the trace context of the program, unary ones and streams", async () => {
  const traceparents: (string | null)[] = [];
  const daemon = await ScriptedDaemon.start([play([started(), completed()])], {
    resolveVersion: (_, { requestHeader }) => {
      traceparents.push(requestHeader.get("traceparent"));
      return {};
    },
  });
  using client = new Client({ address: daemon.address });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const span = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
  const spanContext = { ...span, traceFlags: TraceFlags.SAMPLED };
  await context.with(trace.setSpanContext(context.active(), spanContext), async () => {
    await client.resolve("nlp/ranker");
    await client.fetch("nlp/ranker");
  });
  traceparents.push(daemon.headers[0]?.get("traceparent") ?? null);
  const expected = `00-${span.traceId}-${span.spanId}-01`;
  assert.deepEqual(traceparents, [expected, expected]);
  await client.resolve("nlp/ranker");
  assert.equal(traceparents.at(-1), null);
});

test("beyond loopback a daemon is talked to by TLS, and only if it is who it says", async (t) => {
  const folder = await temporaryFolder();
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  const options = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  try {
    await promisify(execFile)("openssl", [...options, "-keyout", key, "-out", cert, ...subject]);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || process.env["CI"] === "true") throw error;
    t.skip("needs openssl");
    return;
  }
  const ca = await readFile(cert);
  const server = createSecureServer(
    { key: await readFile(key), cert: ca },
    connectNodeAdapter({
      routes: (router) =>
        router.service(AssetService, {
          resolveVersion: (request) => ({ assetVersion: { name: request.spec, version: "1.2" } }),
        }),
    }),
  );
  server.listen(0, "localhost");
  await once(server, "listening");
  const address = `localhost:${(server.address() as AddressInfo).port}`;
  const trusting = new Client({ address, tls: { ca } });
  assert.equal((await trusting.resolve("nlp/ranker")).version, "1.2");
  trusting.close();
  const wary = new Client({ address, tls: {}, retry: { connectPatienceMs: 0 } });
  await assert.rejects(wary.resolve("nlp/ranker"), (error) => {
    assert.ok(error instanceof AssetdError);
    return /self.signed/.test(error.message);
  });
  wary.close();
  server.close();
});
