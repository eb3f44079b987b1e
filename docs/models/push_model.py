#!/usr/bin/env python3
"""Explicit-state model checker for assetd's push protocol (layout.md: "The bucket", "Push").  Plain Python 3.11, one file.

    nice python3 push_model.py [-v] [--titles] [PREFIX | TITLE$ ...]
    -v prints the shortest trace to each violation; --titles only which configurations there are

STORE: one asset; per version a claim, a .meta, two parts; one index.  Every call is one atomic step: get, scan (LIST of the
.metas), new (If-None-Match: *), cas (If-Match; an ETag IS the content, so A-B-A is possible), put and del (unconditional),
upload / finish / abort (create, complete, abort one multipart upload by its id).
PROCESSES: 2-3 pushers (content, push_id, version or None = bump), interleaved at every call; "frozen" = not scheduled for as
long as one likes.  Two pushers with one push_id are a repeat through another daemon.  Faults, each with a budget:
  late  a mutating call gets no answer: its caller retries (or stops), the call itself takes effect at any later moment, once or
        never.  Covers lost responses (it lands at once), requests of dead processes, retries that overtake.
  stop  failure, cancel, or crash + restart-and-clean, at any step (the journal knows the version).
  lost  the node is gone for good.     release='lost' / 'any': an operator releases a claim of a lost node / of anybody.
INVARIANTS (1-4, 8 in every state; 2b, 6, 6v, 7 when everybody has finished; what is late may still be late)
  1  .meta exists => both parts hold exactly its bytes            2   an acknowledged version is in the index
  3  an ack's version has the content that was pushed             2b  every .meta is in the index (unless its node is lost)
  4  a bump's push_id: at most one version over acks and .metas   6   no claim without .meta remains   6v  ... nor beside one
  7  no upload remains (sweep; unless an operator released a claim)   8   a sweep ends no upload of another's open claim without .meta
  5a from every reachable store a solo exact push of the claim's (else the .meta's) content is acknowledged, nobody helping it
  5b ... of any content, where there is neither claim nor .meta
FLAGS  '' a first draft of layout.md | create: parts are only created; an unequal left-over means next number / failure | cond:
  unequal left-overs are replaced by If-Match | roll: restart finishes a push whose parts or .meta are there | pid: a bump
  heeds only its own push_id and looks for it again after claiming | fence: layout.md.  Claims go open -> committing ->
  deleted or open -> released -> open by compare-and-swap; parts are created; an unequal left-over is replaced by an upload whose
  id the claim lists (then .meta is looked for again); who takes a released claim over aborts what it lists.  -X: without X. |
  fence index: as the code does it: a bump reads the claims, then the index, and the .metas that it lists, instead of a LIST.
  fence index sweep: and the beginning of an upload may lose its answer and be repeated; before a push releases its claim, and
  after it has committed, it lists the version's uploads, looks whether claim or .meta still stands, and aborts what it listed.
BOUNDS 1-3 versions, 2 parts, contents aa bb ab, budgets as given; states that violate 1, 3 or 4 are not expanded.
"""
import sys, time
from collections import deque, namedtuple

PARTS, BYTES, FINAL = 2, {'A': 'aa', 'B': 'bb', 'C': 'ab'}, {'ack', 'fail', 'lost', 'idle'}
Claim = namedtuple('Claim', 'st content pid owner n ups')      # st: open, committing, released; ups: listed uploads
Meta = namedtuple('Meta', 'content pid')
Proc = namedtuple('Proc', 'pc v k c n out x', defaults=(0, 0, None, 0, '', None))   # c: claim as last seen; out: verdict
State = namedtuple('State', 'store procs late budget')         # budget: late, stop, lost, release
C, M, PT = (lambda v: 4 * v), (lambda v: 4 * v + 1), (lambda v, k: 4 * v + 2 + k)   # keys of the flat store


class Model:
    def __init__(self, name, who, V=1, flags='', late=0, stop=0, lost=0, release=None, seed=()):
        self.name, self.V, self.flags, self.release = name, V, set(flags.split()), release
        self.fence, self.pid = 'fence' in self.flags, bool({'pid', 'fence'} & self.flags) and '-ownpid' not in self.flags
        self.IX, self.UP, self.oper, self.solo_seen = 4 * V, 4 * V + 1, len(who), {}
        self.sweeps = 'sweep' in self.flags and '-list' not in self.flags
        self.metas = ('listed', self.IX) if 'index' in self.flags else ('scan', 0)
        self.who = list(who) + [(None, 'operator', 0), None]    # last: the solo pusher of check 5
        store = [None] * (4 * V + 1) + [frozenset()]
        for key, val in seed:
            store[key] = val                                    # left-overs
        procs = tuple(self.begin(i, Proc('')) for i in range(len(who))) + (Proc('idle'),)
        self.init = State(tuple(store), procs, (), (late, stop, lost, 1 if release else 0))

    def apply(self, S, op):                                     # ---- the store
        kind, key, *a = op
        if kind == 'get':
            return S, S[key]
        if kind == 'scan':
            return S, tuple(S[M(v)] for v in range(self.V))
        if kind == 'listed':                                    # a .meta never changes: when it is read does not matter
            return S, tuple(S[M(v)] if (S[key] or 0) >> v & 1 else None for v in range(self.V))
        if kind == 'new' and S[key] is not None or kind == 'cas' and S[key] != a[0]:
            return S, False
        val = a[-1] if a else None
        if kind == 'upload':
            key, val = self.UP, S[self.UP] | {(key, *a)}
        elif kind == 'abort':
            key, val = self.UP, frozenset(u for u in S[self.UP] if u[0] not in key)
        elif kind == 'uploads':
            return S, tuple(sorted((u[0] for u in S[self.UP] if u[1] // 4 == key), key=repr))
        elif kind == 'sweep':                                   # its answer, which no pusher sees: was nobody hurt?
            ends, by, c = {u for u in S[self.UP] if u[0] in a[0]}, a[1], S[key]
            hurt = not S[key + 1] and c and c.st == 'open' and (c.owner, c.n) != by and any(u[0][4:] == (c.owner, c.n) for u in ends)
            return S[:self.UP] + (S[self.UP] - ends,) + S[self.UP + 1:], not hurt
        elif kind == 'finish':
            up = next((u for u in S[self.UP] if u[0] == key), None)
            if not up:
                return S, False                                 # NoSuchUpload
            S, key, val = S[:self.UP] + (S[self.UP] - {up},), up[1], up[2]
        return S[:key] + (val,) + S[key + 1:], True

    def begin(self, me, p):                                     # ---- the pusher
        _, pid, want = self.who[me]
        p = Proc('look1' if want is not None else 'pclaims' if self.pid else 'pmetas', want or 0, n=p.n + 1)
        return p._replace(pc='mk_ix') if pid == 'mk' else p

    def settle(self, me, p):
        if p.out == 'next' and p.v + 1 < self.V:
            return Proc('claim', p.v + 1, n=p.n)
        return Proc('ack', p.v) if p.out == 'ack' else Proc('idle' if me == self.oper else 'fail')

    def met(self, me, p, m, finish=False):
        """A .meta is there: mine (list it, answer) or another's (drop my claim; next number, or ALREADY_EXISTS)."""
        content, pid, want = self.who[me]
        won = m.pid == pid if want is None and self.pid else m.content == content
        out = 'gone' if p.out == 'gone' else 'ack' if won else 'next' if want is None else 'fail'
        p = p._replace(out=out, x=None, k=0)
        if won or finish:
            return p._replace(pc='ixget')
        return self.leave(me, p, out)

    def leave(self, me, p, out):
        """Give up: only the claim's maker removes it."""
        p, mine = p._replace(out=out, x=None, k=0), p.c and p.c.owner == me
        return self.drop(p) if mine else self.settle(me, p)

    def drop(self, p):
        return p._replace(pc='list' if self.sweeps else 'release' if self.fence else 'del')

    def swept(self, me, p):
        return p._replace(pc='after', x=None) if self.sweeps and me != self.oper else self.settle(me, p)

    def claimed(self, me, p):
        again = self.who[me][2] is None and self.pid and '-pid2' not in self.flags
        return p._replace(pc='pclaims2' if again else 'part' if '-look2' in self.flags else 'look2', k=0)

    def part_done(self, p):
        end = 'commit' if self.fence and '-commit' not in self.flags else 'meta'
        return p._replace(pc='part', k=p.k + 1, x=None) if p.k + 1 < PARTS else p._replace(pc=end, k=0, x=None)

    def step(self, me, p):
        """The next call of process `me`, and a function from its answer to the process that follows."""
        content, pid, want = self.who[me]
        pc, v, k, c, F, fence, to = p.pc, p.v, p.k, p.c, self.flags, self.fence, p._replace
        bump, other = want is None, 'next' if want is None else 'fail'
        byte, uid = content and BYTES[content][k:k + 1], c and (me, p.n, v, k, c.owner, c.n)
        look = lambda nxt, **kw: (('get', M(v)), lambda m: self.met(me, p, m, **kw) if m else to(pc=nxt, k=0 if nxt == 'part' else k))

        if pc in ('look1', 'look2', 'again'):
            return look({'look1': 'claim', 'look2': 'part', 'again': 'finish'}[pc])
        if pc in ('pclaims', 'pclaims2'):                      # any claim of this push_id?  k = version looked at
            def then(r):
                if r and r.st != 'released' and r.pid == pid and not (pc == 'pclaims2' and k == v):
                    return to(pc='rdclaim', v=k, k=0) if pc == 'pclaims' else self.leave(me, p, 'fail')   # yield: ABORTED
                if k + 1 < self.V:
                    return to(k=k + 1)
                return to(k=0, pc='pmetas2' if pc == 'pclaims2' else 'pmetas' if self.pid else 'claim')
            return ('get', C(k)), then
        if pc == 'pmetas':                                     # any .meta of this push_id?  else the next number
            def then(ms):
                hit = [w for w, m in enumerate(ms) if m and m.pid == pid]
                nxt = max([w + 1 for w, m in enumerate(ms) if m], default=0)
                if hit or nxt >= self.V:
                    return self.met(me, to(v=hit[0]), ms[hit[0]]) if hit else self.settle(me, to(out='fail'))
                return to(pc='claim' if self.pid else 'pclaims', v=nxt, k=0)
            return self.metas, then
        if pc == 'pmetas2' and 'index' in F:                   # the same by the index, and the .meta of the version itself
            return self.metas, lambda ms: (self.leave(me, p, 'fail') if any(m and m.pid == pid for m in ms[:v] + ms[v + 1:])
                                           else to(pc='look2', k=0))
        if pc == 'pmetas2':                                    # a .meta of it elsewhere: yield, the repeat finds it
            return ('scan', 0), lambda ms: (self.leave(me, p, 'fail') if any(m and m.pid == pid for m in ms[:v] + ms[v + 1:])
                                            else self.met(me, p, ms[v]) if ms[v] else to(pc='part'))
        if pc == 'abort':
            return ('abort', c.ups), lambda _: to(pc='claim')
        if pc == 'claim':
            mine = Claim('open', content, pid, me, p.n, ())
            op = ('cas', C(v), c, mine) if c else ('new', C(v), mine)
            return op, lambda ok: self.claimed(me, to(c=mine)) if ok else to(pc='rdclaim', c=None)
        if pc == 'rdclaim':
            def then(r):
                if r is None:
                    return to(pc='claim') if bump else to(pc='look1')
                if r.st == 'released':                         # take it over, after aborting what it lists
                    return to(pc='abort' if r.ups and '-abort' not in F else 'claim', c=r)
                if r.owner == me and r.n == p.n:
                    return self.claimed(me, to(c=r))           # my create took effect, its answer was lost
                if r.st == 'committing' and (not bump or r.pid == pid):
                    return to(pc='meta', c=r)                  # whoever meets it finishes it
                if r.content == content and (r.pid == pid or not (bump and self.pid)):
                    return self.claimed(me, to(c=r))           # join
                return self.settle(me, to(out=other))          # PUSH_IN_PROGRESS, or the next number
            return ('get', C(v)), then
        if pc == 'part':
            if F & {'create', 'cond', 'fence'} and '-new' not in F:
                return ('new', PT(v, k), byte), lambda ok: self.part_done(p) if ok else to(pc='head')
            return ('get', PT(v, k)), lambda b: self.part_done(p) if b == byte else to(pc='put')
        if pc == 'head':
            return ('get', PT(v, k)), lambda b: (self.part_done(p) if b == byte else self.leave(me, p, other) if 'create' in F
                                                 else to(pc='up' if fence and '-reg' not in F else 'put', x=b))
        if pc == 'put':
            if F & {'cond', '-reg'}:
                return ('cas', PT(v, k), p.x, byte), lambda ok: self.part_done(p) if ok else to(pc='head', x=None)
            return ('put', PT(v, k), byte), lambda _: self.part_done(p)
        if pc == 'up':
            return ('upload', uid, PT(v, k), byte), lambda _: to(pc='reg', x=None)
        if pc == 'reg':
            new = c._replace(ups=tuple(sorted({*c.ups, uid})))
            return ('cas', C(v), c, new), lambda ok: (to(pc='finish' if '-again' in F else 'again', c=new) if ok
                                                      else to(pc='recheck', x='reg'))
        if pc == 'finish':
            return ('finish', uid), lambda ok: self.part_done(p) if ok else to(pc='head', n=p.n + 1)   # ids are unique
        if pc == 'commit':
            new = c._replace(st='committing')                  # the point of no return
            return ('cas', C(v), c, new), lambda ok: to(pc='meta', c=new) if ok else to(pc='recheck', x='commit')
        if pc == 'recheck':                                    # a swap failed: answer lost, somebody joined, or claim lost?
            def then(r):
                if not r or (r.owner, r.n) != (c.owner, c.n) or r.st == 'released':
                    return self.begin(me, p)
                return to(pc='meta' if r.st == 'committing' else p.x, c=r, x=None)
            return ('get', C(v)), then
        if pc == 'meta':
            m = Meta(c.content, c.pid) if fence else Meta(content, pid)
            return ('new', M(v), m), lambda ok: self.met(me, p, m, True) if ok else to(pc='rdmeta')
        if pc == 'rdmeta' or pc == 'c_meta' and not fence:
            return look('c_part', finish=fence)
        if pc == 'ixget':
            def then(ix):
                if ix is None or not ix >> v & 1:
                    return to(pc='ixscan') if ix is None else to(pc='ixput', x=(ix, ix | 1 << v))
                return to(pc='del') if c else self.swept(me, p) if p.out == 'gone' else self.settle(me, p)
            return ('get', self.IX), then
        if pc == 'ixscan':
            return ('scan', 0), lambda ms: to(pc='ixput', x=(None, sum(1 << w for w, m in enumerate(ms) if m) | 1 << v))
        if pc == 'ixput':                                      # then read back; lost answers end there too
            return (('new', self.IX, p.x[1]) if p.x[0] is None else ('cas', self.IX, *p.x)), lambda _: to(pc='ixget', x=None)
        if pc == 'del' or pc == 'release' and '-swap' in F:
            return ('del', C(v)), lambda _: self.swept(me, p)
        if pc in ('list', 'listed', 'held'):                   # ---- uploads that nobody knows, before a release
            end = to(pc='release', x=None)
            if pc == ('held' if '-order' in F else 'list'):    # the rule: list first, then look whether the claim is held
                return ('uploads', v), lambda ids: to(pc='sweep' if pc == 'held' else 'listed', x=ids) if ids else end
            held = lambda r: r and (r.owner, r.n) == (c.owner, c.n) and r.st != 'released'
            return ('get', C(v)), lambda r: to(pc='held' if pc == 'list' else 'sweep') if held(r) else end
        if pc == 'sweep':
            return ('sweep', C(v), p.x, (c.owner, c.n)), lambda ok: to(pc='release', x=None, out=p.out if ok else 'hurt')
        if pc == 'after':                                      # ---- ... and once the version is committed
            return ('uploads', v), lambda ids: to(pc='ended', x=ids) if ids else self.settle(me, p)
        if pc == 'ended':
            return ('abort', p.x), lambda _: self.settle(me, p)
        if pc == 'release':                                    # ---- removal before .meta; restart; operator
            new = c._replace(st='released', pid=(me, p.n))     # every record written is unique (a nonce)
            return ('cas', C(v), c, new), lambda ok: self.settle(me, p) if ok else to(pc='c_get', n=p.n + 1)
        if pc == 'c_get':
            def then(r):
                mine = r and (me == self.oper or r.owner == me)
                if not fence and ('roll' not in F or not content):
                    return to(pc='del') if mine else self.settle(me, p)
                return to(pc='c_meta', c=r if mine or fence else None)
            return ('get', C(v)), then
        if pc == 'c_meta':
            def then(m):
                if m:
                    return self.met(me, p, m, True)
                if c is None or c.st == 'released' and (c.owner, c.n) != (me, p.n):
                    return to(pc='c_tomb') if me != self.oper else self.settle(me, p)
                if c.st == 'committing':
                    return to(pc='meta')
                if c.st == 'open' and me in (c.owner, self.oper):
                    return to(pc='release') if me == self.oper else self.drop(p)
                return self.settle(me, p)
            return ('get', M(v)), then
        if pc == 'c_tomb':                                     # a late create or swap of mine must find another record
            tomb = Claim('released', content, (me, p.n, 'tomb'), me, p.n, c.ups if c else ())
            op = ('get', C(v)) if '-tomb' in F else ('cas', C(v), c, tomb) if c else ('new', C(v), tomb)
            return op, lambda ok: self.settle(me, p) if ok or op[0] == 'get' else to(pc='c_get', c=None, n=p.n + 1)
        if pc == 'c_part':
            return ('get', PT(v, k)), lambda b: ((to(pc='del') if c else self.settle(me, p)) if b != byte else
                                                 to(k=k + 1) if k + 1 < PARTS else to(pc='meta', k=0))
        if pc == 'mk_ix':                                      # ---- modelkit: blind writes, index deleted, then written
            return ('get', self.IX), lambda ix: to(pc='mk_part', x=ix or 0, v=min((ix or 0).bit_length(), self.V - 1))
        if pc == 'mk_part':
            return ('put', PT(v, k), byte), lambda _: to(k=k + 1) if k + 1 < PARTS else to(pc='mk_meta', k=0)
        op, then = {'mk_meta': (('put', M(v), Meta(content, pid)), to(pc='mk_del')), 'mk_del': (('del', self.IX), to(pc='mk_put')),
                    'mk_put': (('put', self.IX, (p.x or 0) | 1 << v), self.settle(me, to(out='ack')))}[pc]
        return op, lambda _: then

    def next(self, s):                                          # ---- interleaving and faults
        S, procs, late, (nl, ns, no, nr) = s
        put = lambda i, p: procs[:i] + (p,) + procs[i + 1:]
        for i, p in enumerate(procs):
            if p.pc in FINAL:
                continue
            op, then = self.step(i, p)
            S2, r = self.apply(S, op)
            yield (i, p, op, r), State(S2, put(i, then(r)), late, s.budget)
            if nl and op[0] in ('new', 'put', 'cas', 'del', 'finish'):
                yield (i, p, op, 'LATE'), State(S, procs, tuple(sorted(late + (op,), key=repr)), (nl - 1, ns, no, nr))
            if nl and op[0] == 'upload' and 'sweep' in self.flags:
                yield (i, p, op, 'UNHEARD'), State(S2, put(i, p._replace(n=p.n + 1)), late, (nl - 1, ns, no, nr))
            if ns and p.out != 'gone' and self.who[i][1] != 'mk':
                yield (i, p, 'STOP', ''), State(S, put(i, Proc('c_get', p.v, n=p.n, out='gone')), late, (nl, ns - 1, no, nr))
            if no and i != self.oper:
                yield (i, p, 'LOST', ''), State(S, put(i, Proc('lost')), late, (nl, ns, no - 1, nr))
        for j, op in enumerate(late):
            S2, r = self.apply(S, op)
            yield ('late', None, op, r), State(S2, procs, late[:j] + late[j + 1:], s.budget)
        for v in range(self.V if nr else 0):
            c = S[C(v)]
            if c and c.st != 'released' and (self.release == 'any' or procs[c.owner].pc == 'lost'):
                yield ('oper', None, 'RELEASE', ''), State(S, put(self.oper, Proc('c_get', v, out='gone')), late, (nl, ns, no, 0))

    def broken(self, s):                                        # ---- invariants
        S, V, bad, pids = s.store, range(self.V), set(), {}
        metas, ix = [S[M(v)] for v in V], S[self.IX] or 0
        for v, m in enumerate(metas):
            if m:
                pids.setdefault(m.pid, set()).add(v)
                if any(S[PT(v, k)] != BYTES[m.content][k] for k in range(PARTS)):
                    bad.add('1')
        for (content, pid, _), p in zip(self.who, s.procs[:-1]):
            if p.pc == 'ack':
                pids.setdefault(pid, set()).add(p.v)
                bad |= {n for n, hit in (('2', not ix >> p.v & 1), ('3', not metas[p.v] or metas[p.v].content != content)) if hit}
        if any(len(pids.get(pid, ())) > 1 for _, pid, want in self.who[:-2] if want is None and pid != 'mk'):
            bad.add('4')
        if any(p.out == 'hurt' for p in s.procs):
            bad.add('8')
        if all(p.pc in FINAL for p in s.procs):
            if 'sweep' in self.flags and S[self.UP] and not self.release:
                bad.add('7')
            for v in V:
                c = S[C(v)]
                gone = c and s.procs[c.owner].pc == 'lost'
                if metas[v] and not ix >> v & 1 and not gone:
                    bad.add('2b')
                if c and c.st != 'released' and not gone:
                    bad.add('6v' if metas[v] else '6')
        return bad if bad & {'1', '3', '4'} else bad | self.solo(S)

    def solo(self, S):
        """Check 5: depends on the store alone, so it is remembered by store."""
        if S not in self.solo_seen:
            bad = self.solo_seen[S] = set()
            for v in range(self.V):
                c, m = S[C(v)], S[M(v)]
                must = m.content if m else c.content if c and c.st != 'released' else None
                for content in [must] if must else BYTES:
                    me, T, self.who[-1] = len(self.who) - 1, S, (content, 'solo', v)
                    p, n = self.begin(me, Proc('')), 0
                    while p.pc not in FINAL and n < 60:
                        op, then = self.step(me, p)
                        T, r = self.apply(T, op)
                        p, n = then(r), n + 1
                    if p.pc != 'ack':
                        bad.add('5a' if must else '5b')
        return self.solo_seen[S]

    def run(self, verbose, limit=3600):
        t0, seen, todo, found, steps = time.time(), {self.init: None}, deque([self.init]), {}, 0
        while todo and time.time() - t0 < limit:
            s = todo.popleft()
            bad = self.broken(s)
            for b in bad:
                found.setdefault(b, s)
            for label, n in () if bad & {'1', '3', '4'} else self.next(s):
                steps += 1
                if n not in seen:
                    seen[n] = (s, label)
                    todo.append(n)
        print(f"{self.name:34}{len(seen):>9} states{steps:>10} steps{time.time() - t0:5.0f} s "
              f"{'NOT EXHAUSTED ' if todo else ''}violated: {' '.join(sorted(found)) or 'none'}", flush=True)
        for b in sorted(found) if verbose else ():
            path, s = [], found[b]
            while seen[s]:
                path, s = path + [seen[s][1]], seen[s][0]
            print(f'  -- {b}', *(f'     {self.text(*l)}' for l in reversed(path)), f'     {found[b].store}', sep='\n')

    def text(self, i, p, op, r):
        who = f"P{i}({self.who[i][0]},{self.who[i][1]},{self.who[i][2]}) {p.pc}" if p else i
        if not isinstance(op, str):
            key = op[1] if op[0] in ('scan', 'upload', 'abort', 'finish') else 'index' if op[1] == self.IX else \
                f"{('claim', 'meta', 'part0', 'part1')[op[1] % 4]}/v{op[1] // 4}"
            op = f"{op[0]} {key} {' '.join(str(tuple(x) if isinstance(x, tuple) else x) for x in op[2:])}"
        return f"{who:26} {op} -> {tuple(r) if isinstance(r, tuple) else r}"


A, A2, B, D = ('A', 'p', 0), ('A', 'q', 0), ('B', 'r', 0), ('C', 's', 0)             # exact pushes of v0
a, a2, b, mk = ('A', 'p', None), ('A', 'q', None), ('B', 'r', None), ('B', 'mk', None)      # bumps; modelkit
LEFT = ((PT(0, 0), 'b'),)                                                            # a dead B left part 0
CONFIGS = {
    'AAB': ([A, A2, B], {}), 'ACB.late1': ([A, D, B], dict(late=1)), 'AB.late2': ([A, B], dict(late=2)),
    'AAB.stop1': ([A, A2, B], dict(stop=1)), 'ACB.stop2': ([A, D, B], dict(stop=2)), 'AB.late1.stop1': ([A, B], dict(late=1, stop=1)),
    'AB.late2.stop2': ([A, B], dict(late=2, stop=2)), 'AAB.late1.stop1': ([A, A2, B], dict(late=1, stop=1)),
    'ABleft.late2.stop1': ([A, B], dict(late=2, stop=1, seed=LEFT)), 'ABBleft.stop2': ([A, B, ('B', 't', 0)], dict(stop=2, seed=LEFT)),
    'AB.lost.rel': ([A, B], dict(lost=1, release='lost')), 'AB.late1.lost.rel': ([A, B], dict(late=1, lost=1, release='lost')),
    'AAB.lost.rel': ([A, A2, B], dict(lost=1, release='lost')), 'AAB.rel-any': ([A, A2, B], dict(release='any')),
    'ABleft.late1.stop1.rel-any': ([A, B], dict(late=1, stop=1, release='any', seed=LEFT)), 'bump.ab': ([a, b], dict(V=2)),
    'bump.aa.late1.stop1': ([a, a], dict(V=2, late=1, stop=1)), 'bump.a.q.q': ([a, a2, a2], dict(V=2)), 'bump.aAa': ([a, A2, a], dict(V=2)),
    'bump.aab.stop1': ([a, a, b], dict(V=3, stop=1)), 'bump.aab.late1': ([a, a, b], dict(V=2, late=1)),
    'bump.aab.rel-any': ([a, a, b], dict(V=2, release='any')), 'mk.AB': ([A, mk], {}), 'mk.bump': ([a, mk], dict(V=2)),
}
if __name__ == '__main__':
    args = [x for x in sys.argv[1:] if x not in ('-v', '--titles')]
    for flags in ['', 'create', 'create pid', 'create pid roll', 'cond pid roll', 'fence create', 'fence', 'fence index'] + [
            f + x for f in ('fence -', 'fence index -') for x in 'look2 new reg again abort commit swap tomb ownpid pid2'.split()] + [
            'fence index sweep', 'fence index sweep -order', 'fence index sweep -list']:
        for n, (who, kw) in CONFIGS.items():
            if 'sweep' in flags and not n.startswith('ABleft'):
                continue                                       # where there is no left-over nobody begins an upload
            name = (flags or 'text').replace(' ', '+') + '/' + n
            if args and not any(f'{name}$'.startswith(x) for x in args):
                continue
            if '--titles' in sys.argv:
                print(name)
            else:
                Model(name, who, flags=flags, **kw).run('-v' in sys.argv)
