/** Where the daemon listens, and in which words the transport is told. Knows nothing of gRPC. */
import { BlockList, isIP } from "node:net";
import { resolve } from "node:path";

/** The variables of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** One daemon's address. */
export interface Address {
  /** As it is shown, and as another program would be told it. */
  readonly target: string;
  /** What requests are made to; over a socket, the `:authority` alone. */
  readonly baseUrl: string;
  /** The path of the unix socket; undefined for TCP. */
  readonly socketPath: string | undefined;
}

// What fits in sockaddr_un with its final NUL: longer ones are cut silently by some systems.
const MAX_SOCKET_PATH_BYTES = 107;

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/**
 * Returns the address to dial: `given`, else `ASSETD_ADDRESS`, else the default of a daemon of this
 * user. No other variable that begins like that is read: Kubernetes injects some.
 *
 * @throws TypeError if it is no address, or there is no default.
 */
export function findAddress(
  given: string | undefined,
  isEncrypted: boolean,
  environment: Environment = process.env,
  userId: number | undefined = process.geteuid?.(),
): Address {
  const text = given || environment["ASSETD_ADDRESS"] || defaultAddress(environment, userId);
  return parseAddress(text, isEncrypted);
}

/**
 * Reads `unix:///path`, or `host:port` or `tcp://host:port`; a host beyond loopback needs TLS.
 *
 * @throws TypeError if it is something else.
 */
export function parseAddress(text: string, isEncrypted: boolean): Address {
  if (text.startsWith("unix:")) {
    const socketPath = socketPathOf(text);
    return { target: `unix://${socketPath}`, baseUrl: "http://localhost", socketPath };
  }
  const authority = text.replace(/^tcp:\/\//, "");
  const host = hostOf(authority);
  // Better to say so than to send anything beyond this node in the clear.
  if (host === undefined || !(isEncrypted || isLoopback(host))) {
    throw new TypeError(
      `cannot dial ${JSON.stringify(text)}: an address is unix:///path or a loopback host:port, ` +
        "such as 127.0.0.1:7070; with `tls`, any host:port",
    );
  }
  const scheme = isEncrypted ? "https" : "http";
  return { target: authority, baseUrl: `${scheme}://${authority}`, socketPath: undefined };
}

function socketPathOf(text: string): string {
  const path = text.replace(/^unix:(\/\/)?/, "");
  if (!path.startsWith("/") || path.endsWith("/")) {
    throw new TypeError(`${JSON.stringify(text)} names no socket: write unix:///path/assetd.sock`);
  }
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES) {
    throw new TypeError(
      `${JSON.stringify(text)} is too long: the path of a socket has at most ` +
        `${MAX_SOCKET_PATH_BYTES} bytes`,
    );
  }
  return path;
}

/** Returns the host of a plain `host:port`; undefined for anything with more or less in it. */
function hostOf(authority: string): string | undefined {
  const parts = /^(?:\[([\da-f:.]+)\]|([\w.-]+)):(\d{1,5})$/i.exec(authority);
  return parts !== null && Number(parts[3]) <= 65_535 ? (parts[1] ?? parts[2]) : undefined;
}

function isLoopback(host: string): boolean {
  const family = isIP(host);
  if (family === 0) return host === "localhost";
  return LOOPBACK.check(host, family === 6 ? "ipv6" : "ipv4");
}

function defaultAddress(environment: Environment, userId: number | undefined): string {
  if (userId === 0) return "unix:///run/assetd/assetd.sock";
  const folder = environment["XDG_RUNTIME_DIR"];
  if (!folder) {
    throw new TypeError(
      "there is no default address, since XDG_RUNTIME_DIR is not set: " +
        "set ASSETD_ADDRESS, such as unix:///path/assetd.sock",
    );
  }
  return `unix://${folder}/assetd/assetd.sock`;
}

/**
 * Returns where this process sees the daemon's ASSETS_DIR, by the daemon's own variables: absolute, so
 * that it stays the same when the program changes its directory.
 */
export function findAssetsDir(
  given: string | undefined,
  environment: Environment = process.env,
): string | undefined {
  const found = given ?? (environment["ASSETS_DIR"] || environment["MODELKIT_ASSETS_DIR"]);
  return found ? resolve(found) : undefined;
}
