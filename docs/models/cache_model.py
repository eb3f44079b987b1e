#!/usr/bin/env python3.11
"""Explicit-state model checker for the on-disk protocol of ONE version in ASSETS_DIR (layout.md).

The file system: A/ the asset's folder (A/v the version; its marker A/.v for a file, A/v/S inside a directory with parts a
and b), G/ staging, T/ trash, C/l modelkit's lock, C/use a hold inside the daemon. A data inode is P(artial) or W(hole), a
marker E(mpty, modelkit's) or R(eceipt); `by` says who wrote it. Actors are generators that yield system calls, one step each
(a yielded generator is a call); an actor's state is its code position plus its locals, so no value may wait on the stack.
Steps on G/ and T/ commute with everybody else: only the same actor or a crash follows them (not with power loss).
Events: SIGKILL of the daemon (its descriptors close, the tree stays, then `restart`), SIGKILL of modelkit inside its lock, and
power loss: an entry operation is durable once a folder into which it wrote was fsynced; a rename is atomic; operations on one
name stay in order; of the others ANY subset ("any") or any prefix ("ordered": ext4, XFS) survives; file data and receipts
without fsync are lost or kept one by one; every process dies.

Invariants
 1  no step of the daemon puts data that is not whole at the final path, or alters it there; nor does power loss
 2  no step of the daemon changes what the final path shows while a reader holds a valid lease (void once an operator or
    modelkit changed the data); 2s: nor when only the marker was removed by hand under the lease
 3  after OK and power loss the version is whole and marked (unless somebody deleted it)
 4  no hit is answered for missing or wrong-size data, unless an operator or modelkit acted after the look began
 5  from EVERY reachable state, everybody dead: start + one fetch give whole + receipt, and the trash is empty
 6  a directory at the final path never holds parts of two writers; 6e: no marker beside missing or partial data (unless an
    operator acted)
 F  reported, no failure: states that fool the client's fast path (receipt + path); S: what a reader by path without a lease sees
Bounds: one version, two parts, one fetch or forced fetch, one eviction, at most two readers, one operator, one modelkit fetch,
the SIGKILLs that the configuration names, one power loss. Not modelled: a file where a directory is due (EXCHANGE either way),
new parent folders, disk errors, damage of equal size, the cache of a directory's verified sizes by folder mtime.
Usage: cache_model.py [-v] [--titles] [-c PREFIX | -c TITLE$]... [--bug NAME]... [--text]
    --bug takes one rule out; --text: a first draft of layout.md, all of its faults; --titles: only say which configurations there are
"""
import argparse, itertools, time
from collections import deque, namedtuple

DATA, MARK = "A/v", {"file": "A/.v", "dir": "A/v/S"}
KIND, POWER, BUGS = "dir", None, frozenset()
TOPS, TORN = "AGTCQ", {"W": "P", "R": "E"}        # top folders (Q: partial_model.py); what a loss of power makes of content without fsync
TEXT = ("lease-on-marker adopt-new-inode publish-no-ex no-relook noreplace-fails evict-peeks evict-dir-marker-first unlink-marker "
        "exchange-in-staging evict-no-fsync hit-no-sync trash-no-sync adopt-no-sync no-recheck-ex no-recheck-lock "
        "trust-staged-marker takeover-no-sync hit-no-hold").split()
SANITY = "no-recheck-reader recheck-early evict-no-ex in-place no-fsync evict-data-first".split()

def bug(name): return name in BUGS

# ---- file system: ent {(dir, name): ino}, ino {n: (content, by, synced)}, fd {(who, fd): (ino, lock)}, disk = durable ent ----
class Fs:
    def __init__(s, ent, ino, fd, disk=None, pend=()): s.ent, s.ino, s.fd, s.disk, s.pend = ent, ino, fd, disk, pend
    def copy(s): return Fs(dict(s.ent), dict(s.ino), dict(s.fd), s.disk, s.pend)
    def key(s):
        live = {*s.ent.values(), *(i for i, _ in s.fd.values()), *(i for _, ch in s.pend for _, i in ch), *s.disk.values()}
        s.ino = {i: v for i, v in s.ino.items() if i in live}
        return tuple(map(frozenset, (s.ent.items(), s.ino.items(), s.fd.items(), s.disk.items()))) + (s.pend,)
    def place(s, who, path):                      # -> (folder, name); a top folder: (None, itself)
        top, *rest = path.split("/")
        if top[0] == "@": top = s.fd[who, top[1:]][0]
        for part in rest[:-1]: top = s.ent.get((top, part))
        return (top, rest[-1]) if rest else (None, top)
    def find(s, who, path):
        d, n = s.place(who, path)
        return s.ent.get((d, n)) if "/" in path else n
    def new(s, content, by):
        n = next(i for i in itertools.count(1) if i not in s.ino)
        s.ino[n] = (content, by, not POWER or content == "D")
        return n
    def change(s, dirs, *changes):
        for k, i in changes: s.ent.pop(k, None) if i is None else s.ent.__setitem__(k, i)
        if POWER: s.pend += ((dirs, changes),)
    def flush(s, pick):                           # the chosen pending operations, and the earlier ones on the same names
        keep, names = [], set()
        for p in reversed(s.pend):
            if pick(p) or names & {k for k, _ in p[1]}: keep.append(p); names |= {k for k, _ in p[1]}
        s.disk, s.pend = dict(s.disk), tuple(p for p in s.pend if not any(p is q for q in keep))
        for k, n in (c for p in reversed(keep) for c in p[1]): s.disk.pop(k, None) if n is None else s.disk.__setitem__(k, n)

def do(fs, who, op):
    """All outcomes of one system call: [(result, Fs)]; [] = it blocks."""
    name, *a = op
    if name == "pick": return [(x, fs) for x in a[0]]
    if name == "note": return [(None, fs)]
    if name == "same": return [(fs.fd[who, a[0]][0] == fs.find(who, a[1]), fs)]
    if name in ("read", "by"): return [(fs.ino.get(fs.find(who, a[0]), (None, None))[name == "by"], fs)]
    old, fs, ok = fs, fs.copy(), True
    if name in ("flock", "wait"):
        me, n = (who, a[0]), fs.fd[who, a[0]][0]
        if any(i == n and k != me and m and "E" in (m, a[1]) for k, (i, m) in fs.fd.items()): return [(False, old)][name == "wait":]
        fs.fd[me] = (n, a[1])
    elif name == "close":
        for f in a: fs.fd.pop((who, f), None)
    elif name == "rename":                        # plain, NOREPLACE, EXCHANGE
        s, t, how = fs.place(who, a[0]), fs.place(who, a[1]), a[2] if len(a) > 2 else ""
        i, j = fs.ent.get(s), fs.ent.get(t)
        if i is None or t[0] is None or {"": j and fs.ino[j][0] == "D", "noreplace": j, "exchange": not j}[how]: return [(False, old)]
        if how == "exchange": fs.change((s[0], t[0]), (s, j), (t, i))
        else: fs.change((t[0],), (s, None), (t, i))
    elif name in ("fsync", "syncfs"):
        i = name == "fsync" and fs.find(who, a[0])
        if POWER: fs.ino = {n: (*v[:2], v[2] or name == "syncfs" or n == i) for n, v in fs.ino.items()}
        fs.flush(lambda p: name == "syncfs" or i in p[0])
    else:
        path = a[1] if name[:4] == "open" else a[0]
        (d, n), i = fs.place(who, path), fs.find(who, path)
        if name in ("creat", "mkdir"):            # O_EXCL
            if d is None or i: return [(False, old)]
            fs.change((d,), ((d, n), fs.new(a[1] if name == "creat" else "D", "us")))
        elif name == "fill" and i: fs.ino[i] = (a[1], fs.ino[i][1], not POWER)        # write in place
        elif name in ("open", "openc", "openw") and (i or name != "open" and d in ("A", "C", *fs.ino)):
            if not i: i = fs.new(a[2] if name == "openw" else "E", who); fs.change((d,), ((d, n), i))   # O_CREAT
            elif name == "openw": fs.ino[i] = (a[2], who, not POWER)                                    # O_TRUNC
            fs.fd[who, a[0]] = (i, "")
        elif name in ("unlink", "rmdir") and i and not (name == "rmdir" and any(e[0] == i for e in fs.ent)): fs.change((d,), ((d, n), None))
        elif name == "rmtree":                    # G/ and T/ only
            for e in sorted(x for x in fs.ent if i and x[0] == i): fs.change((i,), (e, None))
            if i: fs.change((d,), ((d, n), None))
        else: return [(False, old)]
    return [(ok, fs)]

# ---- the daemon ----
def sync(*paths):
    for p in paths if not bug("no-fsync") else (): yield "fsync", p

def look():
    mark = yield "read", MARK[KIND]
    data = yield "read", DATA
    if KIND == "dir" and data:
        one = yield "read", "A/v/a"
        two = yield "read", "A/v/b"
        return mark, "W" if one == two == "W" else "P"
    return mark, data

def modelkit_lock(wait):
    while True:
        yield "openc", "k", "C/l"
        if not (yield ("wait" if wait else "flock"), "k", "E"): yield "close", "k"; return False
        if bug("no-recheck-lock") or (yield "same", "k", "C/l"): return True

def lease_name(): return MARK[KIND] if bug("lease-on-marker") else DATA
def ex_lease():
    """LOCK_EX|LOCK_NB on the lease that stands there; True when it is ours or there is none to take."""
    while (yield "open", "m", lease_name()):
        if not (bug("evict-no-ex") or (yield "flock", "m", "E")): yield "close", "m"; return False
        if bug("no-recheck-ex") or (yield "same", "m", lease_name()): return True
    return True

def stage():
    """Download, verify, fsync; what an earlier run left is kept only if its bytes prove it, and is fsynced again."""
    parts, tops = (("G/v",), ()) if KIND == "file" else (("G/v/a", "G/v/b"), ("G/v/S", "G/v"))
    for f in tops[:1] if bug("trust-staged-marker") and tops else parts + tops[:1]:
        if (yield "read", f) not in ("W", "R"): break
    else:
        if not bug("takeover-no-sync"): yield sync(*parts, *tops)
        return
    yield "rmtree", "G/v"
    if tops: yield "mkdir", "G/v"; yield "creat", "G/v/S", "R"
    for f in parts: yield "creat", f, "P"; yield "fill", f, "W"; yield sync(f)
    yield sync(*tops)

def settle(): yield sync(*(MARK[KIND], "A") if KIND == "file" else (MARK[KIND], DATA, "A"))
def receipt():
    """Mark what stands there: an fsynced receipt by rename (a lease on the marker: into the inode that stands there)."""
    if not bug("lease-on-marker") or bug("adopt-new-inode") or not (yield "fill", MARK[KIND], "R"):
        yield "rmtree", "G/m"; yield "creat", "G/m", "R"; yield sync("G/m")
        if not (yield "rename", "G/m", MARK[KIND]): return False
    yield settle()
    return True

def put(mark, data, repair):
    """Staging -> final path, under modelkit's lock. True when it stands there, durable."""
    if KIND == "file":
        if data and not (bug("publish-no-ex") and not repair) and not (yield ex_lease()): return False
        if bug("in-place"): yield "openw", "w", DATA, "P"; yield "fill", "@w", "W"
        if mark and bug("unlink-marker"): yield "unlink", MARK[KIND]; yield sync("A")
        if not (yield "rename", "G/v", DATA): return False
        yield sync("A"); yield receipt()
    elif not (yield "rename", "G/v", DATA, "noreplace"):
        if bug("noreplace-fails") and not repair: return False
        if not (yield ex_lease()): return False
        side = "G/v" if bug("exchange-in-staging") else "T/n"
        if side == "T/n": yield "rmtree", "T/n"; yield "rename", "G/v", "T/n"
        if not (yield "rename", side, DATA, "exchange") and not (yield "rename", side, DATA, "noreplace"): return False
        if side == "G/v": yield "rename", "G/v", "T/n"
    yield sync("A")
    return True

def hit():
    yield "note", "look"
    mark, data = yield look()
    if (mark, data) == ("R", "W"):
        if not bug("hit-no-sync"): yield settle()
        yield "note", "hit"
    return mark, data

def fetch(force=False):
    """With a hold inside the daemon from the first look until the answer is out."""
    if not bug("hit-no-hold"): yield "openc", "u", "C/use"; yield "wait", "u", "S"
    mark, data = yield (look() if force else hit())
    if force or (mark, data) != ("R", "W"):
        staged, repair = force or data != "W", force or mark is not None
        if staged: yield stage()
        yield modelkit_lock(True)
        mark, data = yield look()
        if data == "W" and not force and not (staged and bug("no-relook")):
            if not bug("adopt-no-sync"): yield "syncfs",          # modelkit does not fsync what it downloads
            done = yield receipt()
            yield "rmtree", "G/v"
        else: done = staged and (yield put(mark, data, repair))   # not staged (it vanished): the caller starts over
        yield "close", "k", "m"
        yield "rmtree", "T/n"
        if done: yield "note", "ok"
    yield "close", "u"
def either():
    force = yield "pick", (False, True)
    yield fetch(force)

def evict():
    if not bug("hit-no-hold"):
        yield "openc", "u", "C/use"
        if not (yield "flock", "u", "E"): return
    if not (yield modelkit_lock(False)): yield "close", "u"; return
    if bug("evict-peeks"): yield "close", "k"
    if (yield "read", MARK[KIND]) == "R" and (yield ex_lease()) and (yield "read", MARK[KIND]) == "R":
        if (KIND == "file" or bug("evict-dir-marker-first")) and not bug("evict-data-first"):
            yield "creat", "T/i", "R"                     # what is about to happen, unsynced: a successor ends it (decision 0007)
            yield "unlink", MARK[KIND]
            if not bug("evict-no-fsync"): yield sync("A")
        yield "rename", DATA, "T/e"
        if bug("evict-data-first"): yield "unlink", MARK[KIND]
        yield sync("A", "T")
        yield "rmtree", "T/i"
    yield "close", "m", "k", "u"
    yield "rmtree", "T/e"

def finish():
    """End an eviction that was killed between marker and data; whatever else stands there stays."""
    if (yield "read", "T/i") and (yield modelkit_lock(False)):
        mark, data = yield look()
        if data and not mark and (yield ex_lease()): yield "rename", DATA, "T/e"; yield sync("A")
        yield "close", "m", "k"

def restart(then=fetch):
    if not bug("trash-no-sync"): yield "syncfs",
    yield finish()
    for f in ("T/e", "T/n", "T/i", "G/m"): yield "rmtree", f
    yield then()
def restart_either(): yield restart(either)
def idle(): yield "note", "idle"

# ---- the others ----
def reader():
    if not (yield "open", "l", lease_name()): return
    if not (yield "flock", "l", "S"): return
    if bug("recheck-early") and not (yield "same", "l", lease_name()): return
    if not (yield "read", MARK[KIND]) or not (yield "read", DATA): return
    blind = bug("no-recheck-reader") or bug("recheck-early")      # the comparison comes last: with it the lease begins
    if blind or (yield "same", "l", lease_name()): yield "note", "lease"; yield "note", "unlease"
    yield "close", "l"
def plain():
    mark = yield "read", MARK[KIND]
    one = yield "by", "A/v/a"
    two = yield "by", "A/v/b"
    if mark: yield "note", f"saw a by {one}, b by {two}"
def operator():
    if KIND == "file": left = yield "pick", ((DATA,), (MARK[KIND],), (DATA, MARK[KIND]), (MARK[KIND], DATA))
    else: left = yield "pick", (("A/v/S",), ("A/v/a",), ("@o/S", "@o/a", "@o/b"))
    if left[0][0] == "@" and not (yield "open", "o", DATA): return
    tree = len(left) == 3
    while left:
        one = (yield "pick", left) if tree else left[0]           # rm -rf: any order, on a descriptor
        left = tuple(x for x in left if x != one)
        yield "unlink", one
    if tree: yield "close", "o"; yield "rmdir", DATA
def unlocker(): yield "unlink", "C/l"

def modelkit(force=False, unlinks=False):
    while True:
        yield "openc", "k", "C/l"; yield "wait", "k", "E"
        if (yield "same", "k", "C/l"): break
    mark = yield "read", MARK[KIND]
    data = yield "read", DATA
    if force or not (mark and data):
        if (force or not mark) and data:
            if KIND == "file": yield "unlink", DATA
            elif (yield "open", "d", DATA):                       # shutil.rmtree works on a descriptor
                left = ("S", "a", "b") if mark else ("a", "b")
                while left:
                    one = (yield "pick", left) if mark else left[0]
                    left = tuple(x for x in left if x != one)
                    yield "unlink", "@d/" + one
                if not (yield "rmdir", DATA): yield "close", "k", "d"; return
        if force or not mark: yield "unlink", MARK[KIND]
        for f in (DATA,) if KIND == "file" else ("A/v/a", "A/v/b"):
            if KIND == "dir": yield "mkdir", DATA                 # exist_ok
            if not (yield "openw", "w", f, "P"): yield "close", "k", "d", "w"; return
            yield "fill", "@w", "W"
        yield "openw", "w", MARK[KIND], "E"
    if unlinks: yield "unlink", "C/l"                             # filelock 3.20.4 to mid-2026 unlinks on release
    yield "close", "k", "d", "w"
def modelkit_force(): yield modelkit(force=True)
def modelkit_unlinks(): yield modelkit(unlinks=True)

# ---- the search ----
class Program:
    """A generator function as a lazily built automaton: position -> next call; (position, result) -> position."""
    def __init__(s, fn): s.fn, s.ids, s.hist, s.op, s.to = fn, {"end": 0}, [None], [None], {}
    def enter(s, hist=()):
        stack, r, left = [s.fn()], None, list(reversed(hist))
        while stack:
            try: op = stack[-1].send(r)
            except StopIteration as e: stack.pop(); r = e.value; continue
            if not isinstance(op, tuple): stack.append(op); r = None
            elif left: r = left.pop()
            else: break
        key = tuple((g.gi_code.co_name, g.gi_frame.f_lasti, tuple(sorted(g.gi_frame.f_locals.items()))) for g in stack) or "end"
        if key not in s.ids: s.ids[key] = len(s.op); s.hist.append(hist); s.op.append(op)
        return s.ids[key]
    def step(s, i, r):
        if (i, r) not in s.to: s.to[i, r] = s.enter(s.hist[i] + (r,))
        return s.to[i, r]

View = namedtuple("View", "data mark whole")      # data: (inode, ((part, inode, content, by), ...)) at the final path
def view(fs):
    i = fs.ent.get(("A", "v")); d = KIND == "dir"
    parts = tuple((p, n, *fs.ino[n][:2]) for p in ("ab" if d else "v") if (n := fs.ent.get((i if d else "A", p))))
    mark = fs.ino.get(fs.ent.get((i, "S") if d else ("A", ".v")), (None,))[0]
    return View((i, parts), mark, len(parts) == 1 + d and all(p[2] == "W" for p in parts))

STARTS = {"empty": ("", ""), "ours": ("R", "W"), "modelkit": ("E", "W"), "left": ("", "P"), "bare": ("", "W"), "damaged": ("R", "P"), "stale": ("R", "")}
def start_fs(name):
    fs, (mark, data) = Fs({}, {}, {}, {}), STARTS[name]
    put = lambda d, n, c: c and fs.ent.__setitem__((d, n), fs.new(c, "old"))
    put("C", "l", "E"); put("C", "use", "E")
    if KIND == "file": put("A", "v", data); put("A", ".v", mark)
    elif data: put("A", "v", "D"); d = fs.ent["A", "v"]; put(d, "a", "W"); put(d, "b", data); put(d, "S", mark)
    if POWER:                                     # what modelkit left is not fsynced
        fs.ino = {i: (*v[:2], name != "modelkit" or v[0] == "D") for i, v in fs.ino.items()}
        fs.disk = {k: v for k, v in fs.ent.items() if name != "modelkit" or k[0] == "C"}
        fs.pend = tuple(((k[0],), ((k, v),)) for k, v in fs.ent.items() if k not in fs.disk)
    return fs

def after_power(fs):
    n, cut = len(fs.pend), itertools.product
    for keep in cut((0, 1), repeat=n) if POWER == "any" else ((1,) * i + (0,) * (n - i) for i in range(n + 1)):
        g = fs.copy(); kept = [p for p, k in zip(fs.pend, keep) if k]; g.flush(lambda p: any(p is q for q in kept))
        up = {n for n in g.disk.values() if isinstance(n, int)} | set(TOPS)     # no entries of folders that were lost
        g.disk = {k: n for k, n in g.disk.items() if k[0] in up}; g.ent, g.fd, g.pend = dict(g.disk), {}, ()
        soft = [i for i, v in g.ino.items() if not v[2] and i in g.ent.values()]
        for lost in cut((0, 1), repeat=len(soft)):
            h = g.copy(); h.ino = {i: (*v[:2], True) for i, v in g.ino.items()}
            for i in itertools.compress(soft, lost): h.ino[i] = (TORN.get(g.ino[i][0], g.ino[i][0]), g.ino[i][1], True)
            yield h

def heals(fs, p):
    """Invariant 5: everybody dead, then start and fetch. "" or what stands there."""
    fs = fs.copy(); fs.fd = {}; i = p.enter()
    while p.op[i]:
        (r, fs), = do(fs, "D1", p.op[i]); i = p.step(i, r)
    v = view(fs)
    return "" if v.mark == "R" and v.whole and not any(e[0] == "T" for e in fs.ent) else f"after start + fetch: {tuple(v)}"

State = namedtuple("State", "fs at kills power leases acked oper clean origin")   # at: per actor (restarted?, position)
def search(kind, power, kills, starts, actors, budget=3600):
    """Breadth first. -> (states, seconds, {finding: trace})"""
    global KIND, POWER
    KIND, POWER, t0, names = kind, power, time.time(), list(actors)
    blind = bug("no-recheck-reader") or bug("recheck-early")
    prog = [(Program(fn), Program(idle if n != "D1" else restart_either if len(names) == 2 else restart)) for n, fn in actors.items()]
    fss, ids, views, healed, memo, found, doctor, parent, queue = [], {}, [], [], {}, {}, Program(restart), {}, deque()
    def intern(fs):
        k = fs.key()
        if k not in ids: ids[k] = len(fss); fss.append(fs); views.append(view(fs)); healed.append(heals(fs, doctor))
        return ids[k]
    def without(f, who):                          # its descriptors, and so its locks, are gone
        fs = fss[f].copy(); fs.fd = {k: x for k, x in fs.fd.items() if k[0] not in who}
        return intern(fs)
    def trace(s, label, f):
        steps = [label]
        while parent[s]: s, l = parent[s]; steps.append(l)
        return [f"start: {s.origin}", *steps[::-1], f"now: {tuple(views[f])} {healed[f]}"]
    def arrive(s, label, t, bad):
        v, w = views[s.fs], views[t.fs]
        if healed[t.fs]: bad.append("5 does not converge")
        fooled = lambda x: x.mark == "R" and x.data[0] and not x.whole
        if fooled(w) and not fooled(v) and s.origin != "damaged": found.setdefault(f"F last step {label}", trace(s, label, t.fs))
        for b in bad: found.setdefault(b, trace(s, label, t.fs))
        if not bad and t not in parent: parent[t] = (s, label); queue.append(t)
    for o in starts:
        s = State(intern(start_fs(o)), tuple((0, p.enter()) for p, _ in prog), kills, bool(power), (), o == "ours", False, True, o)
        parent[s] = None; queue.append(s)
    while queue:
        if time.time() - t0 > budget: found["! out of time"] = []; break
        s = queue.popleft(); v = views[s.fs]; todo = []
        for i, who in enumerate(names):
            p = prog[i][s.at[i][0]]; op = p.op[s.at[i][1]]
            if op is None: continue
            paths = {x[:2] for x in op[1:] if isinstance(x, str) and x[1:2] == "/"}
            if not POWER and who[0] == "D" and paths and paths <= {"G/", "T/"}: todo = [(i, who, p, op)]; break
            todo.append((i, who, p, op))
        for i, who, p, op in todo:
            if (s.fs, who, op) not in memo: memo[s.fs, who, op] = [(r, intern(g)) for r, g in do(fss[s.fs], who, op)]
            for r, f in memo[s.fs, who, op]:
                w, le, bad, note = views[f], s.leases, [], op[1] if op[0] == "note" else ""
                acked, oper, clean = s.acked or note in ("ok", "hit"), s.oper, s.clean or note == "look"
                label = f"{who}: {' '.join(map(str, op))}" + ("" if r in (True, None) else f" -> {r}")
                if who[0] == "R" and (note == "lease" if blind else op[0] == "same" and r): le += ((who, "ok" if w.data[0] else "void"),)
                if note == "unlease": le = tuple(x for x in le if x[0] != who)
                if note == "hit" and clean and not (w.mark and w.whole): bad.append("4 hit without data")
                if note[:3] == "saw": found.setdefault("S " + note, trace(s, label, f))
                if v != w and who[0] == "D":
                    if v.data != w.data:
                        if w.data[0] and not w.whole: bad.append("1 partial by us")
                        bad += ["2 leased data changed" if x == "ok" else "2s leased data changed, marker removed by hand" for _, x in le if x != "void"]
                    acked = acked and (actors[who] is not evict or bool(w.mark and w.whole))
                elif v != w:
                    clean, acked, oper = False, False, oper or who[0] == "O"
                    le = tuple((n, x if x == "void" else "marker" if v.data == w.data else "void") for n, x in le)
                if len({x[3] for x in w.data[1]}) > 1 == len({x[3] for x in v.data[1]}): bad.append("6 mixed directory")
                if w.mark and not w.whole and (not v.mark or v.whole) and not oper and who != "MF": bad.append("6e marker beside incomplete data")
                at = s.at[:i] + ((s.at[i][0], p.step(s.at[i][1], r)),) + s.at[i + 1:]
                arrive(s, label, State(f, at, s.kills, s.power, le, acked, oper, clean, s.origin), bad)
        down = tuple((1, prog[i][1].enter()) if n[0] == "D" else s.at[i] for i, n in enumerate(names))
        if s.kills: arrive(s, "KILL daemon", s._replace(fs=without(s.fs, [n for n in names if n[0] == "D"]), at=down, kills=s.kills - 1, clean=True), [])
        for i, who in enumerate(names):
            if who[0] == "M" and s.at[i][1] and (who, "k") in fss[s.fs].fd:
                arrive(s, "KILL modelkit", s._replace(fs=without(s.fs, [who]), at=s.at[:i] + ((0, 0),) + s.at[i + 1:]), [])
        for fs in after_power(fss[s.fs]) if s.power else ():
            f = intern(fs); w = views[f]; at = tuple(x if n[0] == "D" else (0, 0) for n, x in zip(names, down))
            bad = ["3 acknowledged, lost"] if s.acked and not (w.mark and w.whole) else []
            if s.origin not in ("left", "damaged", "modelkit") and w.data[0] and not w.whole: bad.append("1 partial after power loss")
            if s.origin not in ("stale", "damaged", "modelkit") and w.mark and not w.whole: bad.append("6e marker beside incomplete data")
            arrive(s, "POWER LOSS", s._replace(fs=f, at=at, power=False, leases=(), clean=True), bad)
    return len(parent), time.time() - t0, found

CONFIGS = {                                       # name: (SIGKILLs of the daemon, power loss, actors); ! = one run for each start
    "operator!": (1, None, dict(D1=either, D2=evict, R=reader, O=operator)),
    "modelkit!": (1, None, dict(D1=either, D2=evict, R=reader, M=modelkit)),
    "modelkit-operator!": (0, None, dict(D1=fetch, D2=evict, M=modelkit, O=operator)),
    "modelkit-force": (0, None, dict(D1=either, R=reader, MF=modelkit_force)),
    "readers": (1, None, dict(D1=either, D2=evict, R=reader, R2=reader)),
    "kill-twice": (2, None, dict(D1=either, D2=evict)),
    "power-any": (1, "any", dict(D1=either, D2=evict)),
    "power-ordered": (1, "ordered", dict(D1=either, D2=evict)),
    "caller-any": (1, "any", dict(D1=either, D2=hit)),
    "caller-ordered": (1, "ordered", dict(D1=either, D2=hit)),
    "filelock-unlinks": (0, None, dict(D1=fetch, D2=evict, M=modelkit_unlinks, M2=modelkit_unlinks)),
    "lock-deleted": (0, None, dict(D1=fetch, M=modelkit, O=unlocker)),          # expected to fail: see 6
    "plain": (0, None, dict(D1=either, P=plain)),
}

if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("-c", action="append"); ap.add_argument("--bug", action="append", default=[], choices=TEXT + SANITY)
    ap.add_argument("--text", action="store_true"); ap.add_argument("-v", action="store_true"); ap.add_argument("--titles", action="store_true")
    o = ap.parse_args(); BUGS = frozenset(o.bug + (TEXT if o.text else []))
    for kind, (name, (kills, power, actors)) in itertools.product(("file", "dir"), CONFIGS.items()):
        starts = [x for x in STARTS if kind == "file" or x != "stale"]
        for some in [[x] for x in starts] if name[-1] == "!" else [starts]:
            title = f"{kind}-{name.rstrip('!')}" + (f"/{some[0]}" if name[-1] == "!" else "")
            if o.c and not any(f"{title}$".startswith(c) for c in o.c): continue
            if o.titles: print(title); continue
            n, sec, found = search(kind, power, kills, some, actors)
            print(f"{title:32} {n:8} states {sec:6.1f} s  {'; '.join(x for x in sorted(found) if x[0] not in 'FS') or 'holds'}", flush=True)
            for x in sorted(found) if o.v else (): print("   ", x, *("\n        " + t for t in found[x]))
