import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import {
  baggageEntryMetadataFromString,
  context,
  createTraceState,
  defaultTextMapSetter,
  propagation,
  trace,
  TraceFlags,
} from "@opentelemetry/api";
import type { TextMapPropagator } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CBaggagePropagator, W3CTraceContextPropagator } from "@opentelemetry/core";
import { connectNodeAdapter } from "@connectrpc/connect-node";

import { AssetService } from "../src/gen/assetd/v1/asset_service_pb.js";
import { AssetdError, Client } from "../src/index.js";
import { traceHeaders } from "../src/trace.js";
import { completed, play, ScriptedDaemon, started, temporaryFolder } from "./daemon.js";

// Nobody here reads what it writes: the headers are the W3C's, whatever the program has set.
const FOREIGN: TextMapPropagator = {
  inject: (_, carrier, setter) => setter.set(carrier, "b3", "1-2-3"),
  extract: (extracted) => extracted,
  fields: () => ["b3"],
};

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
  propagation.setGlobalPropagator(FOREIGN);
  const span = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
  const spanContext = { ...span, traceFlags: TraceFlags.SAMPLED };
  await context.with(trace.setSpanContext(context.active(), spanContext), async () => {
    await client.resolve("nlp/ranker");
    await client.fetch("nlp/ranker");
  });
  traceparents.push(daemon.headers[0]?.get("traceparent") ?? null);
  const expected = `00-${span.traceId}-${span.spanId}-01`;
  assert.deepEqual(traceparents, [expected, expected]);
  assert.equal(daemon.headers[0]?.get("b3"), null);
  await client.resolve("nlp/ranker");
  assert.equal(traceparents.at(-1), null);
});

test("trace headers are those that the W3C propagators write", async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const span = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" };
  const state = createTraceState("vendor=one,other=two");
  const opaque = baggageEntryMetadataFromString("for=ever");
  const contexts = [
    context.active(),
    trace.setSpanContext(context.active(), { ...span, traceFlags: TraceFlags.NONE, traceState: state }),
    trace.setSpanContext(context.active(), { ...span, traceFlags: TraceFlags.SAMPLED }),
    trace.setSpanContext(context.active(), { ...span, spanId: "0", traceFlags: TraceFlags.SAMPLED }),
    propagation.setBaggage(
      context.active(),
      propagation.createBaggage({ "ä b": { value: "1,2;ü" }, key: { value: "v", metadata: opaque } }),
    ),
    propagation.setBaggage(context.active(), propagation.createBaggage({
      long: { value: "x".repeat(5000) },
      ...Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`k${at}`, { value: "y".repeat(60) }])),
    })),
    propagation.setBaggage(context.active(), propagation.createBaggage(
      Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`k${at}`, { value: "" }])),
    )),
  ];
  for (const each of contexts) {
    const expected: Record<string, string> = {};
    new W3CTraceContextPropagator().inject(each, expected, defaultTextMapSetter);
    new W3CBaggagePropagator().inject(each, expected, defaultTextMapSetter);
    assert.deepEqual(await context.with(each, traceHeaders), expected);
  }
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
