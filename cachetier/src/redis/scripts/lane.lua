#!lua flags=allow-oom
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
