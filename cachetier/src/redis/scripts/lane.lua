#!lua flags=allow-oom
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

-- An invalidation leaves a hold and marks it: its guard may then no longer put what it has committed.
local function touch(key)
  redis.call('SETRANGE', key, '1', '\1')
end
