/**
 * Globs over the paths of files, as the contract has them: `*` and `?` stop at `/`, `**` does not.
 * Pure, and never slow: segment by segment, since one expression for all could backtrack for ever.
 */
import { invalidField } from "./errors.js";

/** What some globs match together; without any, nothing. */
export class Globs {
  readonly #globs: readonly (readonly string[])[];

  /** @throws AssetdError `INVALID_FIELD` if one can match nothing. */
  constructor(globs: readonly string[] = []) {
    for (const glob of globs) {
      // A shell completes `cache` to `cache/`; what was to be left out would be pushed.
      if (glob.split("/").includes("")) {
        const shown = JSON.stringify(glob);
        throw invalidField(`${shown} matches no path: write FOLDER/** for what is in it`, "exclude");
      }
    }
    this.#globs = globs.map((glob) => glob.split("/"));
  }

  /** Whether there are none. */
  get isEmpty(): boolean {
    return this.#globs.length === 0;
  }

  /** Tells whether one of them matches the file at `path`. */
  match(path: string): boolean {
    const segments = path.split("/");
    return this.#globs.some((glob) => matches(glob, segments));
  }

  /** Tells whether one of them matches whatever the folder at `path` may hold. */
  matchAllBelow(path: string): boolean {
    const segments = path.split("/");
    return this.#globs.some(
      (glob) =>
        glob.at(-1) === "**" && (matches(glob, segments) || matches(glob.slice(0, -1), segments)),
    );
  }
}

/** Tells whether the whole path matches; a segment `**` stands for any folders. */
function matches(glob: readonly string[], path: readonly string[]): boolean {
  // How many segments of the path the part of the glob so far may stand for.
  let taken = new Set([0]);
  glob.forEach((pattern, position) => {
    const next = new Set<number>();
    if (pattern !== "**") {
      for (const count of taken) {
        const segment = path[count];
        if (segment !== undefined && matchesSegment(pattern, segment)) next.add(count + 1);
      }
    } else if (taken.size > 0) {
      // At the end it stands for files, and so for one segment at least.
      const least = Math.min(...taken) + (position === glob.length - 1 ? 1 : 0);
      for (let count = least; count <= path.length; count += 1) next.add(count);
    }
    taken = next;
  });
  return taken.has(path.length);
}

/** Matches one segment in the product of both lengths at most, by going back to the last `*` only. */
function matchesSegment(pattern: string, segment: string): boolean {
  const [glob, text] = [[...pattern], [...segment]];
  let [atGlob, atText, star, starText] = [0, 0, -1, 0];
  while (atText < text.length) {
    if (glob[atGlob] === "*") {
      [star, starText] = [atGlob, atText];
      atGlob += 1;
    } else if (glob[atGlob] === "?" || glob[atGlob] === text[atText]) {
      atGlob += 1;
      atText += 1;
    } else if (star >= 0) {
      starText += 1;
      [atGlob, atText] = [star + 1, starText];
    } else {
      return false;
    }
  }
  return glob.slice(atGlob).every((character) => character === "*");
}
