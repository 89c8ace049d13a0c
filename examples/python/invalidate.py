"""Invalidates what a service has cached with cachetier, in every instance of it, from Python: by the formats of docs/wire.md.

    pip install redis
    python3 invalidate.py redis://127.0.0.1/ shop key=user:42 tag=org:7 prefix=user:7:
    python3 invalidate.py redis://127.0.0.1/ shop everything

Call it after the write has been committed. It prints a token, which an instance can be asked to wait for. A bump that is sent
twice invalidates twice, so one without an answer may be sent again.

It needs Redis 7.0. For 6.2 the first line of the script must be `redis.call('PERSIST', KEYS[1])`.
"""

import random
import struct
import sys

import redis

# The script `bump`, as cachetier's instances run it.
BUMP = r"""#!lua flags=allow-oom
-- What the scripts of the lane share: put in front of each of them but `usual`.
-- KEYS[1] the state, KEYS[2] the table: a string each.
-- ARGV[1] what the caller says of itself: the highest seq it was told in the era it knows, that era, an era to begin if there is none,
-- the size of a table to begin, the run of the server that it was told on this connection or 0. ARGV[2], of a bump: the channel.
-- ARGV[3]: the body of its message.
-- No `no-writes` flag: a replica, or a primary without its replicas, must refuse to run any of them.
-- On the way of a bump few calls and functions, nothing looked up twice, and no number that becomes text or is one of several in an
-- answer: each of these costs a hundredth of it or more, and the server does nothing else meanwhile.
local call, LANE, TABLE, ARGV = redis.call, KEYS[1], KEYS[2], ARGV

-- Of a bump: the seq before it, and its own as it is written.
local before, told

-- The state: magic and kind, era, seq, cells of the table, the run of the server that it has lived in, whether anything was written into the
-- table, whether what another run has left is trusted, until when holds of write guards may stand (ms of the server's clock, 0 for none).
-- It is plain where a bump of keys need not look at what stands behind the seq: nothing is trusted, the run is known, no hold may stand.
local STATE, STATE_SIZE, SEQ_AT, ANY, PLAIN = '>I4I4I8I4I8BBI8', 38, '8', 0x63746c01, 0x63746c02
local SEQ = '>I8'

-- Numbers of Lua are doubles: from here on a seq could no longer be counted up by one.
local LAST = 9007199254740000

-- The first byte of a hold. No other value of ours begins with it.
local HOLD = '\247'

local function now()
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end

-- One life of a server's process, as a number: 0 where it may not be asked for.
local function this_run()
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  return id and tonumber(string.sub(id, 1, 12), 16) or 0
end

-- Comes before every write: a key of a foreign type stops the script here, or where the table is looked at.
local floor, known, fresh, wanted, present = struct.unpack('>I8I4I4I4I8', ARGV[1])
local found = call('GET', LANE)
local kind, era, seq, cells, run, written, trusted, guarded
if found then
  if #found == STATE_SIZE then
    kind, era, seq, cells, run, written, trusted, guarded = struct.unpack(STATE, found)
  end
  if kind ~= PLAIN and kind ~= ANY then
    return redis.error_reply('ERR the state of the lane is of another release')
  end
end

-- Whether there is a lane to count on from. A seq below the one that the caller was told in this era ends the era: the server has gone
-- back to an older state. Where that is trusted the lane goes on from there, if the clock has not gone back as well.
local stands = era ~= nil and seq < LAST
if stands and seq < floor and era == known then
  stands = trusted == 1 and floor <= now()
  seq = floor
end
if not stands then
  call('STRLEN', TABLE)
end
-- Moves the lane on by one bump. Within an era seqs count up from the server's clock at its begin. What another run has left may lack the end
-- of what was told: a seq that counts on from there may be one that others take for applied. So another era begins here; and where such a
-- state is trusted, or runs cannot be told apart, seqs stay above what that run can have told.
local told_apart = stands and trusted == 0 and run > 0 and present > 0
if told_apart and run ~= present then
  -- Whoever was told another, was he told of this server? Else each of his bumps would begin an era.
  local this = this_run()
  told_apart = false
  if this > 0 and run ~= this then
    call('STRLEN', TABLE)
    stands = false
  end
end
if stands then
  before, seq = seq, told_apart and seq + 1 or math.max(seq + 1, now())
  told = struct.pack(SEQ, seq)
end
-- What the scripts share that use the table: put behind what they share of the lane.
-- The table is one string: a head that names its size and era, the last bump of everything, the last bump of each page of cells,
-- the cells, eight bytes each. The cells of a tag lie in one page.
local HEAD, PAGE, HASHES, NAMED = 16, 4096, 4, '>c4I4I4I4'
-- ARGV[4..]: the places of the table that it is written into, as offsets in a table of the size that the caller wants. Where
-- the table has another, that size is the answer, and nothing is done.
-- The first place is written here, and is one before the cells: so a table that is gone although the state remembers one (evicted,
-- deleted) shows by its length. That ends the era: bumps were forgotten. A bump of keys alone leaves that to be found by whoever needs the
-- table.
local place, length = ARGV[4], HEAD + 8 + 8 * math.ceil(wanted / PAGE) + 8 * wanted
if place and stands then
  if cells ~= wanted then
    return cells
  end
  if written == 0 then
    call('STRLEN', TABLE)
  else
    stands = call('SETRANGE', TABLE, place, told) == length
  end
end
-- Drops KEYS[3..] and bumps the lane. A hold stays, and is marked: they are looked for only while any may stand.
-- Counts how many keys held anything else.
local done = 0
if not stands or guarded > 0 then
  for i = 3, #KEYS do
    if redis.pcall('GETRANGE', KEYS[i], '0', '0') == HOLD then
      call('SETRANGE', KEYS[i], '1', '\1')
    else
      done = done + call('DEL', KEYS[i])
    end
  end
elseif KEYS[3] then
  done = call('DEL', unpack(KEYS, 3))
end
-- Begins another era where there is no lane to count on from.
if not stands then
  call('DEL', TABLE)
  era, cells = fresh, wanted
  before, seq, written, trusted, found = 0, math.max(now(), floor + 1), 0, trusted or 0, nil
  -- A state that is gone is not told from one that never was. Holds may have been planted under it: they stand for an hour at most.
  guarded = guarded or math.floor(now() / 1000) + 3600000
  told = struct.pack(SEQ, seq)
  run = this_run()
end
-- Writes a bump into its places, and makes the table first if there is none: whole, so that its length tells whether it is the same.
if place then
  local first = 5
  if written == 0 then
    call('SET', TABLE, struct.pack(NAMED, 'ctt\1', cells, era, HASHES))
    call('SETRANGE', TABLE, length - 8, struct.pack(SEQ, 0))
    written, found, first = 1, nil, 4
  end
  for i = first, #ARGV do
    call('SETRANGE', TABLE, ARGV[i], told)
  end
end
-- Keeps the state, and tells everybody of the bump. Returns what the message begins with, and behind that how many, if any.
if found then
  call('SETRANGE', LANE, SEQ_AT, told)
else
  kind = trusted == 0 and run > 0 and guarded == 0 and PLAIN or ANY
  call('SET', LANE, struct.pack(STATE, kind, era, seq, cells, run, written, trusted, guarded))
end
local head = struct.pack('>c3I4I8', 'ct\1', era, before) .. told
call('PUBLISH', ARGV[2], head .. ARGV[3])
return done > 0 and head .. done or head
"""

CELLS = 262_144  # of the table, if there is none yet
HEAD, PAGE = 16, 4_096


def tag_hash(namespace: str, tag: str) -> int:
    mask, h = (1 << 64) - 1, 0xCBF29CE484222325
    for byte in namespace.encode() + b"\0" + tag.encode():
        h = ((h ^ byte) * 0x100000001B3) & mask
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = ((h ^ (h >> 33)) * factor) & mask
    return h ^ (h >> 33)


def places(h: int, cells: int) -> set:
    """Where in the table the bump of a tag is written: into the mark of a page, and into four cells of it."""
    size, at, step = min(cells, PAGE), h & 0xFFFFFFFF, h >> 32 | 1
    page, first = at % (cells // size), at >> 10
    marks, begin = HEAD + 8, HEAD + 8 + cells // size * 8
    return {marks + 8 * page} | {begin + 8 * (page * size + (first + n * step) % size) for n in range(4)}


def invalidate(server: redis.Redis, namespace: str, keys=(), tags=(), prefixes=(), everything=False, cells=CELLS) -> str:
    """Up to a thousand of each; returns the token at which it stands."""
    hashes = [tag_hash(namespace, tag) for tag in tags], [tag_hash(namespace, "^" + prefix) for prefix in prefixes]
    contents = [b"".join(struct.pack(">H", len(key.encode())) + key.encode() for key in keys)]
    contents += [b"".join(struct.pack(">Q", h) for h in kind) for kind in hashes]
    fields = [(number, content) for number, content in enumerate(contents, 1) if content] + [(4, b"")] * everything
    body = b"".join(struct.pack(">BI", 0x80 | number, len(content)) + content for number, content in fields)
    database = server.connection_pool.connection_kwargs.get("db") or 0
    channel = f"ct:{{{namespace}}}:bus" + (f":{database}" if database else "")
    names = [f"ct:{{{namespace}}}:lane", f"ct:{{{namespace}}}:tags"] + [f"ct:{namespace}:v:{key}" for key in keys]
    caller = struct.pack(">QIIIQ", 0, 0, random.randrange(1, 1 << 32), cells, 0)
    written = {HEAD} if everything else set()
    written = sorted(written.union(*(places(h, cells) for h in sum(hashes, []))))
    # Bytes, whatever the client makes of other answers.
    answer = server.execute_command("EVAL", BUMP, len(names), *names, caller, channel, body, *written, NEVER_DECODE=True)
    if isinstance(answer, int):  # The table has another size: nothing was done.
        return invalidate(server, namespace, keys, tags, prefixes, everything, answer)
    era, seq = struct.unpack(">3xI8xQ", answer[:23])
    return f"{era:x}-{seq:x}"


def chosen(targets: list) -> dict:
    found = {"key": [], "tag": [], "prefix": []}
    for target in targets:
        kind, _, name = target.partition("=")
        if target == "everything":
            continue
        if kind not in found:
            sys.exit(f"expected key=.., tag=.., prefix=.. or everything, found {target!r}")
        if not 1 <= len(name.encode()) <= 4_096:
            sys.exit(f"expected a {kind} of 1 to 4,096 bytes, found {len(name.encode())}")
        if kind == "prefix" and not (name.endswith(":") and name.count(":") <= 4):
            sys.exit(f"expected a prefix of one to four segments, each with its ':', found {name!r}")
        found[kind].append(name)
    return found


if __name__ == "__main__":
    url, namespace, *targets = sys.argv[1:]
    names = chosen(targets)
    if not targets:
        sys.exit("expected something to invalidate, found nothing")
    client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    print(invalidate(client, namespace, names["key"], names["tag"], names["prefix"], "everything" in targets))
