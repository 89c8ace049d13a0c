#!lua flags=allow-oom
-- `bump` of keys alone, where nothing else is to be looked at: most bumps are that, and everything that a script does the server's other
-- callers wait for. Where it is not so it declines, having done nothing.
-- KEYS[1] the state, KEYS[2..] the entries. ARGV[1] the channel, ARGV[2] the caller's floor and the run that he was told of, in 8 bytes each,
-- and behind them the body.
-- How the state lies, and where seqs end, stands in `lane.lua`.
-- The floor is compared whatever era it is of: one of another era at worst makes it decline. So does a caller who was told of no run: it is
-- known in such a lane.
local call, LANE = redis.call, KEYS[1]
local found = call('GET', LANE)
if not found or #found ~= 38 then
  return 0
end
local kind, era, seq, _, run = struct.unpack('>c4c4I8c4c8', found)
local floor, present = struct.unpack('>I8c8', ARGV[2])
if kind ~= 'ctl\2' or run ~= present or seq < floor or seq >= 9007199254740000 then
  return 0
end
local head = struct.pack('>c3c4I8I8', 'ct\1', era, seq, seq + 1)
local done = call('DEL', unpack(KEYS, 2))
call('SETRANGE', LANE, '8', string.sub(head, 16))
call('PUBLISH', ARGV[1], head .. string.sub(ARGV[2], 17))
return done > 0 and head .. done or head
