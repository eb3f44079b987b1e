import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { promisify } from "node:util";

import { Client } from "../src/index.js";
import { Daemon, PACKAGE, temporaryFolder } from "./daemon.js";

const run = promisify(execFile);
let project: string;
let packed: { files: { path: string }[]; filename: string };

/** The package as a user has it: packed, unpacked, and beside what it depends on. */
before(async () => {
  project = await temporaryFolder();
  const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", project], { cwd: PACKAGE });
  [packed] = JSON.parse(stdout) as [typeof packed];
  const installed = join(project, "node_modules", "assetd");
  await mkdir(installed, { recursive: true });
  await run("tar", ["-xzf", join(project, packed.filename), "--strip-components=1", "-C", installed]);
  for (const scope of ["@bufbuild", "@connectrpc", "@types", "undici-types"]) {
    await symlink(join(PACKAGE, "node_modules", scope), join(project, "node_modules", scope));
  }
  await writeFile(join(project, "package.json"), '{ "type": "module" }');
});

/** The first example of the README. */
async function example(): Promise<string> {
  const readme = await readFile(join(PACKAGE, "README.md"), "utf8");
  const code = /```ts\n([^]*?)```/.exec(readme)?.[1];
  assert.ok(code !== undefined, "the README has no example");
  return code;
}

test("the package holds what is run and its types, and nothing of how it is made", async () => {
  const paths = packed.files.map(({ path }) => path);
  const others = paths.filter((path) => !/^dist\/[\w/-]+\.(js|d\.ts)$/.test(path));
  assert.deepEqual(others.sort(), ["LICENSE", "README.md", "package.json"]);
  for (const path of ["index", "v1", "gen/assetd/v1/asset_service_pb", "gen/google/rpc/error_details_pb"]) {
    assert.ok(paths.includes(`dist/${path}.js`) && paths.includes(`dist/${path}.d.ts`), path);
  }
  const manifest = JSON.parse(await readFile(join(PACKAGE, "package.json"), "utf8")) as {
    type: string;
    version: string;
    dependencies: Record<string, string>;
  };
  assert.equal(manifest.type, "module");
  const python = await readFile(join(PACKAGE, "../python/pyproject.toml"), "utf8");
  assert.equal(manifest.version, /^version = "(.*)"$/m.exec(python)?.[1]);
  // What the package imports when it is run, it declares; OpenTelemetry may be missing.
  const imported = new Set<string>();
  for (const path of paths.filter((name) => name.endsWith(".js"))) {
    const code = await readFile(join(project, "node_modules/assetd", path), "utf8");
    for (const [, name] of code.matchAll(/(?:from|import) "((?:@[\w-]+\/)?[\w:-]+)/g)) {
      if (name !== undefined && !name.startsWith("node:")) imported.add(name);
    }
  }
  assert.deepEqual([...imported].sort(), Object.keys(manifest.dependencies).sort());
});

test("the example of the README compiles, has fifteen lines, and runs without leaving by force", async () => {
  const code = await example();
  assert.ok(code.trim().split("\n").length <= 15);
  await writeFile(join(project, "example.ts"), code);
  const strict = ["--strict", "--module", "NodeNext", "--target", "ES2022", "--skipLibCheck"];
  const lib = ["--lib", "ES2022,ESNext.Disposable", "--types", "node"];
  const compiler = join(PACKAGE, "node_modules/.bin/tsc");
  await run(compiler, [...strict, ...lib, "example.ts"], { cwd: project });

  const daemon = await Daemon.start();
  const environment = { PATH: process.env["PATH"], ASSETD_ADDRESS: daemon.address };
  const missing = await run("node", ["example.js"], { cwd: project, env: environment });
  assert.match(missing.stdout, /^there is no such version: \{.*nlp\/ranker/s);

  const source = join(project, "weights");
  await writeFile(source, "the weights");
  using client = new Client({ address: daemon.address });
  await client.push(source, "nlp/ranker:1.0");
  const { stdout } = await run("node", ["example.js"], { cwd: project, env: environment });
  assert.equal(stdout, "1.0 the weights\n");
});

test("a program that closes nothing ends by itself once its calls are over", async () => {
  const daemon = await Daemon.start();
  const program = `
    import { Client } from "assetd";
    import { AssetService } from "assetd/v1";
    const listing = new Client().list();
    for await (const entry of listing) console.log(entry);
    console.log(AssetService.typeName);`;
  await writeFile(join(project, "open.mjs"), program);
  const environment = { PATH: process.env["PATH"], ASSETD_ADDRESS: daemon.address };
  const { stdout } = await run("node", ["open.mjs"], { cwd: project, env: environment });
  assert.equal(stdout, "assetd.v1.AssetService\n");
});
