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
-- KEYS[1] state: a hash of era, seq, and whether the table holds anything; KEYS[2] table: cells of eight bytes.
-- No `no-writes` flag: a replica, or a primary without its replicas, must refuse to run any of them.

-- Numbers of Lua are doubles: from here on a seq could no longer be counted up by one.
local LAST = 9007199254740000

local function text(number)
  return string.format('%.0f', number)
end

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Era and seq, or nil where the lane has none to count on from. Comes before every write: a key of a foreign type stops the
-- script here. A table that is gone although the state remembers one (evicted, deleted) ends the era: bumps were forgotten.
local function standing()
  local state = redis.call('HMGET', KEYS[1], 'era', 'seq', 'tags')
  local length = redis.call('STRLEN', KEYS[2])
  local era, seq = tonumber(state[1]), tonumber(state[2])
  if era and seq and seq < LAST and (length > 0 or state[3] ~= '1') then
    return era, seq
  end
  return nil
end

local function begin(era, seq)
  redis.call('HSET', KEYS[1], 'era', text(era), 'seq', text(seq), 'tags', '0')
end

-- Moves the lane on by one bump: seq, cells (four bytes an index), message. Returns era and seq.
local function advance(era, previous, fresh, floor, cells, channel, body)
  if not era then
    era, previous = tonumber(fresh), 0
    begin(era, previous)
  end
  local seq = math.max(previous + 1, now(), tonumber(floor) + 1)
  redis.call('HSET', KEYS[1], 'seq', text(seq))
  if #cells > 0 then
    local cell = struct.pack('>I8', seq)
    for i = 1, #cells, 4 do
      local index = struct.unpack('>I4', cells, i)
      redis.call('SETRANGE', KEYS[2], text(index * 8), cell)
    end
    redis.call('HSET', KEYS[1], 'tags', '1')
  end
  redis.call('PUBLISH', channel, 'ct\1' .. struct.pack('>I4I8I8', era, previous, seq) .. body)
  return era, seq
end

-- The first byte of a key: what it is of ours. Nothing, foreign bytes and foreign types are none of these.
local TICKET, VALUE, HOLD = '\245', '\246', '\247'

local function kind(key)
  return redis.pcall('GETRANGE', key, '0', '0')
end
-- Drops KEYS[3..] (not a hold) and bumps the lane.
-- ARGV: era to begin if there is none, floor, channel, cells, body. Returns era, seq, how many held a ticket or a value.
local era, previous = standing()
local held = 0
for i = 3, #KEYS do
  local found = kind(KEYS[i])
  if found ~= HOLD then
    redis.call('DEL', KEYS[i])
    if found == TICKET or found == VALUE then
      held = held + 1
    end
  end
end
local seq
era, seq = advance(era, previous, ARGV[1], ARGV[2], ARGV[4], ARGV[3], ARGV[5])
return { era, seq, held }
"""

CELLS = 262_144  # the service's `tag_cells`


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
    cells = [((h & 0xFFFFFFFF) + i * (h >> 32 | 1)) % CELLS for h in sum(hashes, []) for i in range(4)]
    cells += [CELLS] if everything else []
    contents = [b"".join(struct.pack(">H", len(key.encode())) + key.encode() for key in keys)]
    contents += [b"".join(struct.pack(">Q", h) for h in kind) for kind in hashes]
    fields = [(number, content) for number, content in enumerate(contents, 1) if content] + [(4, b"")] * everything
    body = b"".join(struct.pack(">BI", 0x80 | number, len(content)) + content for number, content in fields)
    database = server.connection_pool.connection_kwargs.get("db") or 0
    channel = f"ct:{{{namespace}}}:bus" + (f":{database}" if database else "")
    names = [f"ct:{{{namespace}}}:lane", f"ct:{{{namespace}}}:tags"] + [f"ct:{namespace}:v:{key}" for key in keys]
    cells = b"".join(struct.pack(">I", cell) for cell in cells)
    era, seq, _ = server.eval(BUMP, len(names), *names, random.randrange(1, 1 << 32), 0, channel, cells, body)
    return f"{era:x}-{seq:x}"


if __name__ == "__main__":
    url, namespace, *targets = sys.argv[1:]
    chosen = {kind: [name for k, _, name in (t.partition("=") for t in targets) if k == kind] for kind in ("key", "tag", "prefix")}
    client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    print(invalidate(client, namespace, chosen["key"], chosen["tag"], chosen["prefix"], "everything" in targets))
