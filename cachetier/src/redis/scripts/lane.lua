#!lua flags=allow-oom
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
