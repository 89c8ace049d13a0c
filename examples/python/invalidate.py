"""Invalidates what a service has cached with cachetier, in every instance of it, from Python: by the formats of docs/wire.md.

    pip install redis
    python3 invalidate.py redis://127.0.0.1/ shop key=user:42 tag=org:7 prefix=user:7:
    python3 invalidate.py redis://127.0.0.1/ shop everything

Call it after the write has been committed. It prints a token, which an instance can be asked to wait for. A bump that is sent
twice invalidates twice, so one without an answer may be sent again.
"""

import random
import struct
import sys

import redis

# The script `bump`, as cachetier's instances run it.
BUMP = r"""#!lua flags=allow-oom
-- What the scripts of the lane share: put in front of each of them.
-- KEYS[1] state: a hash of era, seq, size of the table, whether anything was written into it, the run of the server that it has lived
-- in, and whether what another run has left is trusted; KEYS[2] the table.
-- No `no-writes` flag: a replica, or a primary without its replicas, must refuse to run any of them.

-- Numbers of Lua are doubles: from here on a seq could no longer be counted up by one.
local LAST = 9007199254740000

-- The table is one string: a head that names its size and era, the last bump of everything, the last bump of each page of cells,
-- the cells, eight bytes each.
local HEAD, HEAD_END, PAGE, HASHES = 16, '15', 4096, 4

local function text(number)
  return string.format('%.0f', number)
end

-- An offset in the table. It is small, and takes half the time of a seq.
local function place(number)
  return string.format('%d', number)
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function head(era, cells)
  return struct.pack('>c4I4I4I4', 'ctt\1', cells, era, HASHES)
end

local function pages(cells)
  return math.ceil(cells / PAGE)
end

-- The lane, or nil where there is none to count on from. Comes before every write: a key of a foreign type stops the script here.
-- A table that is gone or another's although the state remembers one (evicted, deleted) ends the era: bumps were forgotten. And so
-- does a seq below the one that the caller was told in this era: the server has gone back to an older state. Where that is trusted the
-- lane goes on from there, if the clock has not gone back as well.
local function standing(known, floor)
  local state = redis.call('HMGET', KEYS[1], 'era', 'seq', 'cells', 'tags', 'trusted')
  local found = redis.call('GETRANGE', KEYS[2], '0', HEAD_END)
  local era, seq, cells = tonumber(state[1]), tonumber(state[2]), tonumber(state[3])
  if not (era and seq and cells) or seq >= LAST then
    return nil
  end
  if era == tonumber(known) and seq < tonumber(floor) then
    if state[5] ~= '1' or now() < tonumber(floor) then
      return nil
    end
    seq = tonumber(floor)
  end
  if found ~= (state[4] == '1' and head(era, cells) or '') then
    return nil
  end
  return { era = era, seq = seq, cells = cells, written = state[4] == '1' }
end

-- One life of a server's process, as a number: 0 where it may not be asked for.
local function this_run()
  local info = redis.pcall('INFO', 'server')
  local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  return run and tonumber(string.sub(run, 1, 12), 16) or 0
end

local function begin(era, seq, cells)
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'era', era, 'seq', text(seq), 'cells', cells, 'tags', '0', 'run', text(this_run()))
  return { era = tonumber(era), seq = seq, cells = tonumber(cells), written = false }
end

-- Writes `seq` into the cells of each hash (eight bytes), into their pages, and, if `all`, into the place of everything.
local function mark(lane, seq, hashes, all)
  local value, first, moved = struct.pack('>I8', seq), HEAD + 8 + 8 * pages(lane.cells), {}
  if not lane.written then
    redis.call('SETRANGE', KEYS[2], '0', head(lane.era, lane.cells))
    redis.call('HSET', KEYS[1], 'tags', '1')
  end
  for i = 1, #hashes, 8 do
    local step, at = struct.unpack('>I4I4', hashes, i)
    step = step + (1 - step % 2)
    for n = 0, HASHES - 1 do
      local cell = (at + n * step) % lane.cells
      redis.call('SETRANGE', KEYS[2], place(first + 8 * cell), value)
      moved[math.floor(cell / PAGE)] = true
    end
  end
  for page in pairs(moved) do
    redis.call('SETRANGE', KEYS[2], place(HEAD + 8 + 8 * page), value)
  end
  if all then
    redis.call('SETRANGE', KEYS[2], text(HEAD), value)
  end
end

-- Moves the lane on by one bump: seq, table, message. Returns era and seq.
local function advance(lane, call, hashes, all, channel, body)
  local seq, previous
  if lane then
    previous = lane.seq
    seq = math.max(previous + 1, now())
    redis.call('HSET', KEYS[1], 'seq', text(seq))
  else
    previous = 0
    seq = math.max(now(), tonumber(call.floor) + 1)
    lane = begin(call.fresh, seq, call.cells)
  end
  if #hashes > 0 or all then
    mark(lane, seq, hashes, all)
  end
  redis.call('PUBLISH', channel, 'ct\1' .. struct.pack('>I4I8I8', lane.era, previous, seq) .. body)
  return lane.era, seq
end

-- What every caller says of itself: an era to begin if there is none, the era it knows and the highest seq it was told in it, the
-- size of a table to begin.
local function caller()
  return { fresh = ARGV[1], known = ARGV[2], floor = ARGV[3], cells = ARGV[4] }
end

-- The first byte of a key: what it is of ours. Nothing, foreign bytes and foreign types are none of these.
local TICKET, VALUE, HOLD = '\245', '\246', '\247'

local function kind(key)
  return redis.pcall('GETRANGE', key, '0', '0')
end

-- An invalidation leaves a hold and marks it: its guard may then no longer put what it has committed.
local function touch(key)
  redis.call('SETRANGE', key, '1', '\1')
end
-- Drops KEYS[3..] (a hold stays, and is marked) and bumps the lane.
-- ARGV: the caller, channel, hashes of tags and prefixes, '1' for everything, body. Returns era, seq, how many held a ticket or a
-- value.
local call = caller()
local lane = standing(call.known, call.floor)
local held = 0
for i = 3, #KEYS do
  local found = kind(KEYS[i])
  if found == HOLD then
    touch(KEYS[i])
  else
    redis.call('DEL', KEYS[i])
    if found == TICKET or found == VALUE then
      held = held + 1
    end
  end
end
local era, seq = advance(lane, call, ARGV[6], ARGV[7] == '1', ARGV[5], ARGV[8])
return { era, seq, held }
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


if __name__ == "__main__":
    url, namespace, *targets = sys.argv[1:]
    chosen = {kind: [name for k, _, name in (t.partition("=") for t in targets) if k == kind] for kind in ("key", "tag", "prefix")}
    client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    print(invalidate(client, namespace, chosen["key"], chosen["tag"], chosen["prefix"], "everything" in targets))
