#!/usr/bin/env python3.11
"""Explicit-state model checker for the BEGINNING of an asset: pushes of several of its first versions at once.

Each version has its own claim and .meta, so create-if-absent keeps nobody from making a dated version beside a numbered one, or a
second "new" asset. push_model.py has how one version is made; here a push is its looks and its writes, each call one atomic step.

The protocol (layout.md, "Push"; decision 0015)
 look   the claims, one after the other, then the index; where there is none, a LIST of the .metas. What exists may refuse the push; a
        claim of others may only where nothing exists yet (it may be given up).
 push   look; claim (create); look again where nothing existed at the first look, and release and fail if refused; open -> committing
        by compare-and-swap; .meta; index; delete the claim.     A swap that fails (released meanwhile): from the beginning.
 stop   a crash at any step, and later a restart: finishes a committing claim, releases an open one.
 free   an operator releases an open claim.

Pushers: d a date, n a number, D and N the same, which demand that the asset be new; each of a version of its own.
Invariants  1  no .metas of two systems      2  at most one .meta of a push that demands a new asset
            3  a push that was answered is listed once everybody has ended
            4  from every state with everybody dead and restarted, a push of a system that fits what exists is answered
Usage: beginning_model.py [-v] [--titles] [-c PREFIX | -c TITLE$]... [--bug NAME]...
  --bug  no-again (no second look)  no-claims (a look sees what exists alone)
"""
import argparse, time
from collections import deque, namedtuple

BUGS = "no-again no-claims".split()
State = namedtuple("State", "claims metas index procs stop free")
# seen: what the look has found so far, as (versions of claims, versions that exist); first: nothing existed at the first look
Proc = namedtuple("Proc", "pc k claims known first", defaults=(0, frozenset(), frozenset(), False))
ENDED = ("ack", "fail", "dead")


def put(row, at, value): return row[:at] + (value,) + row[at + 1:]


class Model:
    def __init__(self, title, who, stop=0, free=0, bugs=()):
        self.title, self.who, self.bugs = title, who, frozenset(bugs)
        none = (None,) * len(who)
        self.init = State(none, frozenset(), frozenset(), (Proc("claims"),) * len(who), stop, free)

    def refused(self, me, p):
        """What the look found forbids this push."""
        mine, others = self.who[me], p.known or (p.claims if "no-claims" not in self.bugs else frozenset())
        others -= {me}
        return bool(others) and (mine.isupper() or any(self.who[v].lower() != mine.lower() for v in others))

    def looked(self, me, p, again):
        if self.refused(me, p):
            return Proc("release" if again else "fail")
        return Proc("commit") if again else Proc("claim", first=not p.known)

    def step(self, S, me):
        """The states that the next call of a pusher leads to."""
        p, n = S.procs[me], len(self.who)
        to = lambda p, **kw: S._replace(procs=put(S.procs, me, p), **kw)
        again = p.pc.endswith("2")
        if p.pc in ("claims", "claims2"):
            seen = p.claims | ({p.k} if S.claims[p.k] in ("open", "committing") and p.k != me else set())
            if p.k + 1 < n:
                return to(p._replace(k=p.k + 1, claims=seen))
            return to(p._replace(pc="index2" if again else "index", claims=seen))
        if p.pc in ("index", "index2"):
            if not S.index:
                return to(p._replace(pc="list2" if again else "list"))
            return to(self.looked(me, p._replace(known=S.index), again))
        if p.pc in ("list", "list2"):
            return to(self.looked(me, p._replace(known=S.metas), again))
        if p.pc == "claim":
            if S.claims[me] not in (None, "released"):
                return to(Proc("fail"))
            second = p.first and "no-again" not in self.bugs
            return to(Proc("claims2" if second else "commit"), claims=put(S.claims, me, "open"))
        if p.pc == "release":
            return to(Proc("fail"), claims=put(S.claims, me, "released") if S.claims[me] == "open" else S.claims)
        if p.pc == "commit":
            if S.claims[me] != "open":
                return to(Proc("claims"))
            return to(Proc("meta"), claims=put(S.claims, me, "committing"))
        if p.pc == "meta":
            return to(Proc("listed"), metas=S.metas | {me})
        if p.pc == "listed":
            return to(Proc("done"), index=S.index | {me})
        return to(Proc("ack"), claims=put(S.claims, me, None))            # done

    def successors(self, S):
        for me, p in enumerate(S.procs):
            if p.pc not in ENDED:
                yield f"{self.who[me]}{me} {p.pc}", self.step(S, me)
                if S.stop:
                    yield f"{self.who[me]}{me} dies", S._replace(procs=put(S.procs, me, Proc("dead")), stop=S.stop - 1)
            elif p.pc == "dead" and S.claims[me] in ("open", "committing"):
                yield f"restart of {me}", self.settled(S, me)
            if S.free and S.claims[me] == "open":
                yield f"operator releases {me}", S._replace(claims=put(S.claims, me, "released"), free=S.free - 1)

    def settled(self, S, me):
        if S.claims[me] == "open":
            return S._replace(claims=put(S.claims, me, "released"))
        if S.claims[me] == "committing":
            return S._replace(claims=put(S.claims, me, None), metas=S.metas | {me}, index=S.index | {me})
        return S

    def violated(self, S):
        kinds = [self.who[v] for v in S.metas]
        if len({kind.lower() for kind in kinds}) > 1:
            yield "1"
        if sum(kind.isupper() for kind in kinds) > 1:
            yield "2"
        if all(p.pc in ENDED for p in S.procs) and any(p.pc == "ack" and me not in S.index for me, p in enumerate(S.procs)):
            yield "3"
        if not self.goes_on(S):
            yield "4"

    def goes_on(self, S):
        """Everybody dead and restarted: one of a pusher's kind that fits, not demanding a new asset, gets through alone."""
        for me in range(len(self.who)):
            S = self.settled(S._replace(procs=put(S.procs, me, Proc("dead")), stop=0, free=0), me)
        systems = {self.who[v].lower() for v in S.metas}
        for me, kind in enumerate(self.who):
            if me in S.metas or systems - {kind.lower()} or kind.isupper() and S.metas:
                continue
            T = S._replace(procs=put(S.procs, me, Proc("claims")))
            while T.procs[me].pc not in ENDED:
                T = self.step(T, me)
            if T.procs[me].pc != "ack":
                return False
        return True

    def run(self, verbose):
        began, seen, queue, found = time.perf_counter(), {self.init: None}, deque([self.init]), {}
        while queue:
            S = queue.popleft()
            bad = [*self.violated(S)]
            for number in bad:
                found.setdefault(number, S)
            if bad:
                continue
            for label, T in self.successors(S):
                if T not in seen:
                    seen[T] = (S, label)
                    queue.append(T)
        print(f"{self.title:24} {len(seen):8} states {time.perf_counter() - began:6.1f} s  violated: {' '.join(sorted(found)) or 'none'}", flush=True)
        for number, S in found.items() if verbose else ():
            trace = []
            while seen[S]:
                S, label = seen[S]
                trace.append(label)
            print(f"  {number}: " + " / ".join(reversed(trace)))


CONFIGS = {
    "dn": ("dn", {}), "dn-stop": ("dn", dict(stop=2, free=1)), "dnn": ("dnn", dict(stop=1)), "ddn-free": ("ddn", dict(free=1)),
    "NN": ("NN", dict(stop=1, free=1)), "NNN": ("NNN", dict(stop=1)), "Nn": ("Nn", dict(stop=2, free=1)), "Nnd": ("Nnd", dict(stop=1)),
    "DNn": ("DNn", dict(stop=1)),
}
if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("-v", action="store_true")
    parser.add_argument("--titles", action="store_true")
    parser.add_argument("-c", action="append", default=[])
    parser.add_argument("--bug", action="append", default=[], choices=BUGS)
    given = parser.parse_args()
    for name, (who, how) in CONFIGS.items():
        title = "+".join([name, *given.bug])
        if not given.c or any(f"{title}$".startswith(one) or f"{name}$".startswith(one) for one in given.c):
            print(title) if given.titles else Model(title, who, bugs=given.bug, **how).run(given.v)
