#!/usr/bin/env python3.11
"""Explicit-state model checker for PARTIAL versions (layout.md, "Partial") beside a full fetch, on the engine of cache_model.py.

Q/ is .assetd/partial: Q/v the partial version, a directory with some of the parts a and b, and its receipt R inside, whose
content says which parts it lists ("Ra", "Rb", "Rab"; "E" torn). C/grow serialises growth inside the daemon, C/part is the hold inside
it on the partial version. The rest as there: A/v the full version, G/ staging, T/ trash; SIGKILLs, power loss, the search.

The protocol
 grow   hold, from the first look until the answer is out; alone in the daemon; a full version is a hit. Make Q/v where it is absent;
        lease it shared, or exclusively where a listed part has to be replaced, and compare inodes. What the receipt lists and is of
        its size is kept. The rest: stage, fsync, rename into the directory, fsync it; then the receipt: staged, fsynced, renamed over
        the old one; fsync the directory and Q.
 hit    hold; waits for no growth; fsyncs receipt, directory and Q before the answer.
 full   as in cache_model.py; once it stands, durable, the partial version is retired: the hold exclusively, LOCK_EX|LOCK_NB on it
        (either busy: it stays), compare inodes, rename into trash, fsync, unlock, delete.     evict: the same.
 tidy   the hold exclusively, LOCK_EX|LOCK_NB on Q/v, compare inodes, and only then: what the receipt does not list is unlinked;
        where it lists nothing, all of it, the folder last.
 lease  open Q/v, LOCK_SH|LOCK_NB, look at receipt and parts, compare inodes last.

Invariants (unless an operator acted, where that is to blame)
 1  the receipt never lists a part that is missing or not whole; nor after power loss
 2  while a reader holds a valid lease, no step of the daemon changes a part that it leased, nor takes the path away
 3  what was acknowledged stands (in the partial version, or in the full one) until it is evicted; nor does power loss take it
 4  no answer names parts that do not stand at its path when it is given
 5  from EVERY reachable state, everybody dead: start + growth to all parts gives all of them, listed; start + full fetch gives the
    full version and no partial one; the trash is empty both times
 6  the final path shows the whole version, or nothing
Bounds: one version, two parts, at most two growths, one full fetch, one eviction, one reader or operator, the SIGKILLs that the
configuration names, one power loss. Not modelled: folders inside the partial version, modelkit (it never looks below .assetd),
disk errors, damage of equal size.    Usage: partial_model.py [-v] [--titles] [-c PREFIX | -c TITLE$]... [--bug NAME]...
"""
import argparse, time
from collections import deque, namedtuple

import cache_model as cm
from cache_model import Fs, Program, bug, sync

cm.TORN.update(Ra="E", Rb="E", Rab="E")
BUGS = ("two-growers grow-unleased receipt-first no-sync-between receipt-in-place no-hold replace-shared no-sync-parent hit-no-sync retire-first "
        "retire-no-ex evict-no-ex no-recheck-ex no-recheck-reader evict-in-place evict-no-sync trash-no-sync trust-list no-fsync tidy-no-ex").split()

def listed(receipt): return receipt[1:] if receipt and receipt[0] == "R" else ""

# ---- the daemon ----
def whole(d, want):
    """Which of the wanted parts the receipt in folder d lists and are of their size."""
    have = listed((yield "read", d + "/R"))
    for p in "ab":
        if p in have and not bug("trust-list") and (yield "read", f"{d}/{p}") != "W": have = have.replace(p, "")
    return "".join(p for p in want if p in have)

def lease(want, force):
    """Q/v as descriptor q, leased; False where somebody has it."""
    while True:
        if not (yield "open", "q", "Q/v"):
            yield "mkdir", "Q/v"
            continue
        have = listed((yield "read", "@q/R"))
        good = yield whole("@q", want)
        over = "".join(p for p in want if p in have and (force or p not in good))
        how = "E" if over and not bug("replace-shared") else "S"
        if bug("grow-unleased"): return True
        if not (yield "flock", "q", how): yield "close", "q"; return False
        if bug("no-recheck-ex") or (yield "same", "q", "Q/v"): return True
        yield "close", "q"

def write_receipt(text):
    if bug("receipt-in-place") and (yield "fill", "@q/R", text): yield sync("@q/R"); return
    yield "rmtree", "G/r"; yield "creat", "G/r", text; yield sync("G/r")
    yield "rename", "G/r", "@q/R"

def grown(want, force):
    """The path that answers, or None."""
    yield "note", "look"
    if not force and (yield cm.look()) == ("R", "W"): yield cm.settle(); return "A"
    if not (yield lease(want, force)): return None
    good = "" if force else (yield whole("@q", want))
    rest = "".join(p for p in want if p not in good)
    if rest:
        for p in rest: yield "rmtree", "G/" + p; yield "creat", "G/" + p, "P"; yield "fill", "G/" + p, "W"; yield sync("G/" + p)
        have = yield whole("@q", "ab")
        text = "R" + "".join(p for p in "ab" if p in have + rest)
        if bug("receipt-first"): yield write_receipt(text)
        for p in rest: yield "rename", "G/" + p, "@q/" + p
        if not bug("no-sync-between"): yield sync("@q")
        if not bug("receipt-first"): yield write_receipt(text)
    elif not bug("hit-no-sync"): yield sync("@q/R")
    if rest or not bug("hit-no-sync"):
        yield sync("@q")
        if not bug("no-sync-parent"): yield sync("Q")
    return "Q"

def hold():
    if not bug("no-hold"): yield "openc", "u", "C/part"; yield "wait", "u", "S"

def grow(want="a", force=False):
    yield hold()
    if not bug("two-growers"): yield "openc", "g", "C/grow"; yield "wait", "g", "E"
    path = yield grown(want, force)
    yield "close", "q", "g"
    if path: yield "note", f"ok {path} {want}"
    yield "close", "u"
def grow_b(): yield grow("b")
def grow_ab(): yield grow("ab")
def grow_or_force():
    force = yield "pick", (False, True)
    yield grow("a", force)
def grow_any():
    want = yield "pick", ("a", "ab")
    yield grow(want)

def take_away(to, unlocked):
    """The partial version into trash, unless it is in use or leased."""
    if not bug("no-hold"):
        yield "openc", "p", "C/part"
        if not (yield "flock", "p", "E"): yield "close", "p"; return
    while (yield "open", "x", "Q/v"):
        if not unlocked and not (yield "flock", "x", "E"): break
        if bug("no-recheck-ex") or (yield "same", "x", "Q/v"):
            if to == "T/q" and bug("evict-in-place"):
                for p in "abR": yield "unlink", "@x/" + p
                yield "rmdir", "Q/v"; yield sync("Q"); break
            yield "rename", "Q/v", to
            if not bug("evict-no-sync"): yield sync("Q", "T")
            break
        yield "close", "x"
    yield "close", "x", "p"
    yield "rmtree", to

def full():
    if bug("retire-first"): yield take_away("T/p", False)
    yield "note", "look"
    mark, data = yield cm.look()
    done = (mark, data) == ("R", "W")
    if done: yield cm.settle()
    else:
        yield cm.stage()
        mark, data = yield cm.look()
        done = yield cm.put(mark, data, mark is not None)
        yield "close", "m"
        yield "rmtree", "T/n"
    if done:
        yield "note", "ok A ab"
        yield take_away("T/p", bug("retire-no-ex"))
def evict(): yield take_away("T/q", bug("evict-no-ex"))
def tidy():
    if not bug("tidy-no-ex"):
        yield "openc", "p", "C/part"
        if not (yield "flock", "p", "E"): yield "close", "p"; return
    while (yield "open", "x", "Q/v"):
        if not bug("tidy-no-ex") and not (yield "flock", "x", "E"): break
        if (yield "same", "x", "Q/v"):
            have = listed((yield "read", "@x/R"))
            for p in "ab":
                if p not in have: yield "unlink", "@x/" + p
            if not have: yield "unlink", "@x/R"; yield "rmdir", "Q/v"
            break
        yield "close", "x"
    yield "close", "x", "p"
def hit():
    """A caller who finds what it wants, beside a growth that is under way."""
    yield hold()
    yield "note", "look"
    if (yield whole("Q/v", "a")):
        if not bug("hit-no-sync"): yield sync("Q/v/R", "Q/v", "Q")
        yield "note", "ok Q a"
    yield "close", "u"

def restart(then=grow_any):
    if not bug("trash-no-sync"): yield "syncfs",
    for f in ("T/p", "T/q", "T/n", "G/m", "G/r", "G/a", "G/b"): yield "rmtree", f
    yield then()
def restart_full(): yield restart(full)
def restart_ab(): yield restart(grow_ab)

# ---- the others ----
def reader():
    if not (yield "open", "l", "Q/v"): return
    if not (yield "flock", "l", "S"): return
    if (yield whole("Q/v", "a")) and (bug("no-recheck-reader") or (yield "same", "l", "Q/v")): yield "note", "lease"; yield "note", "unlease"
    yield "close", "l"
def operator():
    left = yield "pick", (("a",), ("R",), ("R", "a", "b"))
    if not (yield "open", "o", "Q/v"): return
    tree = len(left) == 3
    while left:
        one = (yield "pick", left) if tree else left[0]
        left = tuple(x for x in left if x != one)
        yield "unlink", "@o/" + one
    if tree: yield "close", "o"; yield "rmdir", "Q/v"

# ---- the search ----
View = namedtuple("View", "top parts receipt full")   # parts: ((name, inode, content), ...) in Q/v
def view(fs):
    i = fs.ent.get(("Q", "v"))
    parts = tuple((p, n, fs.ino[n][0]) for p in "ab" if (n := fs.ent.get((i, p))))
    return View(i, parts, fs.ino.get(fs.ent.get((i, "R")), ("",))[0], cm.view(fs))
def sound(v): return "".join(p for p, _, c in v.parts if c == "W" and p in listed(v.receipt))
def is_full(v): return v.full.mark == "R" and v.full.whole
def stands(v, part): return is_full(v) or part in sound(v)
def lies(v): return len(sound(v)) < len(listed(v.receipt))

STARTS = {"empty": ("", "", ""), "a": ("Ra", "W", ""), "ab": ("Rab", "W", "W"), "unlisted": ("", "W", ""), "damaged": ("Ra", "P", ""), "full": ("Ra", "W", "")}
def start_fs(name):
    fs, (receipt, a, b) = Fs({}, {}, {}, {}), STARTS[name]
    put = lambda d, n, c: c and fs.ent.__setitem__((d, n), fs.new(c, "old"))
    for n in ("part", "grow"): put("C", n, "E")
    if receipt + a: put("Q", "v", "D"); d = fs.ent["Q", "v"]; put(d, "a", a); put(d, "b", b); put(d, "R", receipt)
    if name == "full": put("A", "v", "D"); d = fs.ent["A", "v"]; put(d, "a", "W"); put(d, "b", "W"); put(d, "S", "R")
    if cm.POWER: fs.ino, fs.disk = {i: (*v[:2], True) for i, v in fs.ino.items()}, dict(fs.ent)
    return fs

def run(fs, p):
    fs = fs.copy(); fs.fd = {}; i = p.enter()
    while p.op[i]:
        (r, fs), = cm.do(fs, "D1", p.op[i]); i = p.step(i, r)
    return fs
def heals(fs, grower, fetcher):
    """Invariant 5. "" or what stands there."""
    one, two = run(fs, grower), run(fs, fetcher)
    v, w, trash = view(one), view(two), [e for g in (one, two) for e in g.ent if e[0] == "T"]
    return "" if (sound(v) == "ab" or is_full(v)) and is_full(w) and not w.top and not trash else f"{tuple(v)} | {tuple(w)} {trash}"

State = namedtuple("State", "fs at kills power lease acked oper clean origin")
def search(power, kills, starts, actors, budget=3600):
    """Breadth first. -> (states, seconds, {finding: trace})"""
    cm.KIND, cm.POWER, t0, names = "dir", power, time.time(), list(actors)
    first = actors["D1"] if actors["D1"] is not grow_or_force else grow
    def again(): yield restart(first)
    prog = [(Program(fn), Program(again if n == "D1" else cm.idle)) for n, fn in actors.items()]
    doctors = Program(restart_ab), Program(restart_full)
    fss, ids, views, healed, memo, found, parent, queue = [], {}, [], [], {}, {}, {}, deque()
    def intern(fs):
        k = fs.key()
        if k not in ids: ids[k] = len(fss); fss.append(fs); views.append(view(fs)); healed.append(heals(fs, *doctors))
        return ids[k]
    def trace(s, label, f):
        steps = [label]
        while parent[s]: s, l = parent[s]; steps.append(l)
        return [f"start: {s.origin}", *steps[::-1], f"now: {tuple(views[f])} {healed[f]}"]
    def arrive(s, label, t, bad):
        v = views[t.fs]
        if healed[t.fs]: bad.append("5 does not converge")
        if any(not stands(v, p) for p in t.acked): bad.append("3 acknowledged, gone")
        if v.full.data[0] and not v.full.whole: bad.append("6 partial at the final path")
        if lies(v) and not t.oper and s.origin != "damaged": bad.append("1 lists what is not there")
        for b in bad: found.setdefault(b, trace(s, label, t.fs))
        if not bad and t not in parent: parent[t] = (s, label); queue.append(t)
    for o in starts:
        s = State(intern(start_fs(o)), tuple((0, p.enter()) for p, _ in prog), kills, bool(power), "", "", False, frozenset(), o)
        parent[s] = None; queue.append(s)
    while queue:
        if time.time() - t0 > budget: found["! out of time"] = []; break
        s = queue.popleft(); v = views[s.fs]; todo = []
        for i, who in enumerate(names):
            p = prog[i][s.at[i][0]]; op = p.op[s.at[i][1]]
            if op is None: continue
            paths = {x[:2] for x in op[1:] if isinstance(x, str) and x[1:2] == "/"}
            if not power and who[0] == "D" and paths and paths <= {"G/", "T/"}: todo = [(i, who, p, op)]; break
            todo.append((i, who, p, op))
        for i, who, p, op in todo:
            if (s.fs, who, op) not in memo: memo[s.fs, who, op] = [(r, intern(g)) for r, g in cm.do(fss[s.fs], who, op)]
            for r, f in memo[s.fs, who, op]:
                w, le, acked, oper, bad, note = views[f], s.lease, s.acked, s.oper, [], op[1] if op[0] == "note" else ""
                clean = s.clean | {who} if note == "look" else s.clean
                label = f"{who}: {' '.join(map(str, op))}" + ("" if r in (True, None) else f" -> {r}")
                if who[0] == "R" and (op[0] == "same" and r or note == "lease" and bug("no-recheck-reader")): le = "ok" if "a" in sound(w) else "void"
                if note == "unlease": le = ""
                if note[:2] == "ok":
                    _, path, want = note.split()
                    if who in clean:
                        acked = "".join(sorted({*acked, *want}))
                        if not (is_full(w) if path == "A" else all(x in sound(w) for x in want)): bad.append("4 answered, not there")
                if v != w and who[0] == "D":
                    if le == "ok" and (v.top, v.parts[:1]) != (w.top, w.parts[:1]): bad.append("2 leased part changed")
                    if actors[who] is evict: acked = "".join(x for x in acked if stands(w, x))
                elif v != w:
                    clean, oper, le = frozenset(), True, "void" if le else ""
                    acked = "".join(x for x in acked if stands(w, x))
                at = s.at[:i] + ((s.at[i][0], p.step(s.at[i][1], r)),) + s.at[i + 1:]
                arrive(s, label, State(f, at, s.kills, s.power, le, acked, oper, clean, s.origin), bad)
        down = tuple((1, prog[i][1].enter()) if n[0] == "D" else s.at[i] for i, n in enumerate(names))
        if s.kills:
            fs = fss[s.fs].copy(); fs.fd = {k: x for k, x in fs.fd.items() if k[0][0] != "D"}
            arrive(s, "KILL daemon", s._replace(fs=intern(fs), at=down, kills=s.kills - 1), [])
        for fs in cm.after_power(fss[s.fs]) if s.power else ():
            at = tuple(x if n[0] == "D" else (0, 0) for n, x in zip(names, down))
            arrive(s, "POWER LOSS", s._replace(fs=intern(fs), at=at, power=False, lease=""), [])
    return len(parent), time.time() - t0, found

CONFIGS = {                                       # name: (SIGKILLs of the daemon, power loss, actors)
    "evict": (1, None, dict(D1=grow_any, D2=evict, R=reader)),
    "full": (1, None, dict(D1=grow_any, D2=full, R=reader)),
    "force": (1, None, dict(D1=grow_or_force, D2=full, R=reader)),
    "growers": (1, None, dict(D1=grow, D2=grow_b, D3=evict)),
    "growers-full": (0, None, dict(D1=grow, D2=grow_b, D3=full)),
    "evict-full": (1, None, dict(D1=grow, D2=evict, D3=full)),
    "operator": (0, None, dict(D1=grow, D2=evict, R=reader, O=operator)),
    "operator-kill": (1, None, dict(D1=grow, D2=evict, O=operator)),
    "operator-full": (0, None, dict(D1=grow_any, D2=full, O=operator)),
    "kill-twice": (2, None, dict(D1=grow_any, D2=full)),
    "tidy": (1, None, dict(D1=grow_any, D2=tidy, R=reader)),
    "tidy-growers": (0, None, dict(D1=grow, D2=grow_b, D3=tidy)),
    "tidy-evict": (1, None, dict(D1=grow, D2=tidy, D3=evict)),
    "tidy-full": (1, None, dict(D1=grow, D2=tidy, D3=full)),
    "tidy-operator": (0, None, dict(D1=grow, D2=tidy, R=reader, O=operator)),
    "evict-twice": (0, None, dict(D1=grow, D2=evict, D3=evict, R=reader)),
    "power-evict-any": (1, "any", dict(D1=grow, D2=evict)),
    "power-evict-ordered": (1, "ordered", dict(D1=grow_any, D2=evict)),
    "power-full-any": (0, "any", dict(D1=grow, D2=full)),
    "power-full-ordered": (0, "ordered", dict(D1=grow, D2=full)),
    "power-force-any": (1, "any", dict(D1=grow_or_force)),
    "power-tidy-any": (1, "any", dict(D1=grow, D2=tidy)),
    "power-tidy-ordered": (1, "ordered", dict(D1=grow_any, D2=tidy)),
    "power-growers-any": (0, "any", dict(D1=grow, D2=grow_b)),
    "power-growers-ordered": (0, "ordered", dict(D1=grow, D2=grow_b)),
    "hit": (1, None, dict(D1=grow_any, D2=hit, D3=evict)),
    "hit-full": (0, None, dict(D1=grow_any, D2=hit, D3=full)),
    "power-hit-any": (1, "any", dict(D1=grow_any, D2=hit)),
    "power-hit-ordered": (1, "ordered", dict(D1=grow_any, D2=hit)),
}

if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-c", action="append"); ap.add_argument("--bug", action="append", default=[], choices=BUGS); ap.add_argument("-v", action="store_true")
    ap.add_argument("--titles", action="store_true")
    o = ap.parse_args(); cm.BUGS = frozenset(o.bug)
    for name, (kills, power, actors) in CONFIGS.items():
        if o.c and not any(f"{name}$".startswith(c) for c in o.c): continue
        if o.titles: print(name); continue
        n, sec, found = search(power, kills, list(STARTS), actors)
        print(f"{name:32} {n:8} states {sec:6.1f} s  {'; '.join(sorted(found)) or 'holds'}", flush=True)
        for x in sorted(found) if o.v else (): print("   ", x, *("\n        " + t for t in found[x]))
