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
-- What the scripts of the lane share: put in front of each of them.
-- KEYS[1] the state, KEYS[2] the table: a string each.
-- ARGV[1..4] what every caller says of itself: an era to begin if there is none, the era it knows and the highest seq it was told in
-- it, the size of a table to begin.
-- No `no-writes` flag: a replica, or a primary without its replicas, must refuse to run any of them.
-- Few calls and functions on the way of a bump: each costs a tenth of it, and the server does nothing else meanwhile.
local call = redis.call

-- The state: magic, era, seq, cells of the table, the run of the server that it has lived in, whether anything was written into the
-- table, whether what another run has left is trusted.
local STATE, STATE_SIZE, MAGIC = '>I4I4I8I4I8BB', 30, 0x63746c01

-- Numbers of Lua are doubles: from here on a seq could no longer be counted up by one.
local LAST = 9007199254740000

-- The first byte of a key: what it is of ours. Nothing, foreign bytes and foreign types are none of these.
local TICKET, VALUE, HOLD = '\245', '\246', '\247'

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
local floor, found = tonumber(ARGV[3]), call('GET', KEYS[1])
local magic, era, seq, cells, run, written, trusted
if found then
  if #found == STATE_SIZE then
    magic, era, seq, cells, run, written, trusted = struct.unpack(STATE, found)
  end
  if magic ~= MAGIC then
    return redis.error_reply('ERR the state of the lane is of another release')
  end
end

-- Whether there is a lane to count on from. A seq below the one that the caller was told in this era ends the era: the server has gone
-- back to an older state. Where that is trusted the lane goes on from there, if the clock has not gone back as well.
local stands = era ~= nil and seq < LAST
if stands and seq < floor and era == tonumber(ARGV[2]) then
  stands = trusted == 1 and floor <= now()
  seq = floor
end
if not stands then
  call('STRLEN', KEYS[2])
end
-- What the scripts share that use the table: put behind what they share of the lane.
-- The table is one string: a head that names its size and era, the last bump of everything, the last bump of each page of cells,
-- the cells, eight bytes each. The cells of a tag lie in one page.
local HEAD, PAGE, HASHES, NAMED = 16, 4096, 4, '>c4I4I4I4'

-- A table that is gone or another's although the state remembers one (evicted, deleted) ends the era: bumps were forgotten. A bump of
-- keys alone (ARGV[6], hashes, is empty) leaves that to be found by whoever needs the table.
if stands and written == 1 and (#ARGV[6] > 0 or ARGV[7] == '1')
  and call('GETRANGE', KEYS[2], '0', '15') ~= struct.pack(NAMED, 'ctt\1', cells, era, HASHES) then
  stands = false
end
-- Drops KEYS[3..] (a hold stays, and is marked) and bumps the lane.
-- ARGV: the caller, channel, hashes of tags and prefixes, '1' for everything, body. Returns era, seq, how many keys held a ticket or
-- a value.
local body, done = ARGV[8], 0
for i = 3, #KEYS do
  local key = KEYS[i]
  local kind = redis.pcall('GETRANGE', key, '0', '0')
  if kind == HOLD then
    call('SETRANGE', key, '1', '\1')
  else
    call('DEL', key)
    if kind == TICKET or kind == VALUE then
      done = done + 1
    end
  end
end
-- Begins another era where there is no lane to count on from. Put before whatever writes a seq.
local before = seq
if not stands then
  call('DEL', KEYS[2])
  era, before, seq, cells, run = tonumber(ARGV[1]), 0, math.max(now(), floor + 1), tonumber(ARGV[4]), this_run()
  written, trusted = 0, trusted or 0
end
-- Moves the lane on by one bump. Within an era seqs count up from the server's clock at its begin; where the lane may be another run's
-- (it is trusted, or runs cannot be told apart), they stay above what that one can have told.
if stands then
  seq = (trusted == 1 or run == 0) and math.max(seq + 1, now()) or seq + 1
end
-- Writes a bump's seq into the cells of ARGV[6], hashes of tags and prefixes, into the marks of their pages, and with ARGV[7] '1' into
-- the place of everything.
if #ARGV[6] > 0 or ARGV[7] == '1' then
  if written == 0 then
    call('SET', KEYS[2], struct.pack(NAMED, 'ctt\1', cells, era, HASHES))
    written = 1
  end
  local size, value, marks = math.min(cells, PAGE), struct.pack('>I8', seq), HEAD + 8
  local pages = cells / size
  for i = 1, #ARGV[6], 8 do
    local step, at = struct.unpack('>I4I4', ARGV[6], i)
    local page, cell = at % pages, math.floor(at / 1024)
    local first = marks + 8 * pages + 8 * size * page
    step = step + 1 - step % 2
    for n = 0, HASHES - 1 do
      call('SETRANGE', KEYS[2], first + 8 * ((cell + n * step) % size), value)
    end
    call('SETRANGE', KEYS[2], marks + 8 * page, value)
  end
  if ARGV[7] == '1' then
    call('SETRANGE', KEYS[2], HEAD, value)
  end
end
-- Keeps the state, and tells everybody of the bump.
call('SET', KEYS[1], struct.pack(STATE, MAGIC, era, seq, cells, run, written, trusted))
call('PUBLISH', ARGV[5], struct.pack('>c3I4I8I8', 'ct\1', era, before, seq) .. body)
return { era, seq, done }
"""

CELLS = 262_144  # of the table, if there is none yet


def tag_hash(namespace: str, tag: str) -> int:
    mask, h = (1 << 64) - 1, 0xCBF29CE484222325
    for byte in namespace.encode() + b"\0" + tag.encode():
        h = ((h ^ byte) * 0x100000001B3) & mask
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = ((h ^ (h >> 33)) * factor) & mask
    return h ^ (h >> 33)


def invalidate(server: redis.Redis, namespace: str, keys=(), tags=(), prefixes=(), everything=False) -> str:
    """Up to a thousand of each; returns the token at which it stands."""
    hashes = [tag_hash(namespace, tag) for tag in tags], [tag_hash(namespace, "^" + prefix) for prefix in prefixes]
    contents = [b"".join(struct.pack(">H", len(key.encode())) + key.encode() for key in keys)]
    contents += [b"".join(struct.pack(">Q", h) for h in kind) for kind in hashes]
    fields = [(number, content) for number, content in enumerate(contents, 1) if content] + [(4, b"")] * everything
    body = b"".join(struct.pack(">BI", 0x80 | number, len(content)) + content for number, content in fields)
    database = server.connection_pool.connection_kwargs.get("db") or 0
    channel = f"ct:{{{namespace}}}:bus" + (f":{database}" if database else "")
    names = [f"ct:{{{namespace}}}:lane", f"ct:{{{namespace}}}:tags"] + [f"ct:{namespace}:v:{key}" for key in keys]
    caller = [random.randrange(1, 1 << 32), 0, 0, CELLS]
    marks = b"".join(struct.pack(">Q", h) for h in sum(hashes, []))
    era, seq, _ = server.eval(BUMP, len(names), *names, *caller, channel, marks, int(everything), body)
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
