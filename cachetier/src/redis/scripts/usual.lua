#!lua flags=allow-oom
-- `bump` of keys alone, where nothing else is to be looked at: most bumps are that, and everything that a script does the server's other
-- callers wait for. Where it is not so it declines, having done nothing.
-- KEYS[1] the state, KEYS[2..] the entries. ARGV[1] the channel, ARGV[2] the caller's floor in 8 bytes and behind it the body.
-- How the state lies, and where seqs end, stands in `lane.lua`.
-- The floor is compared whatever era it is of: one of another era at worst makes it decline.
local call, LANE = redis.call, KEYS[1]
local found = call('GET', LANE)
if not found or #found ~= 38 then
  return 0
end
local kind, era, seq = struct.unpack('>c4c4I8', found)
if kind ~= 'ctl\2' or seq < struct.unpack('>I8', ARGV[2]) or seq >= 9007199254740000 then
  return 0
end
local head = struct.pack('>c3c4I8I8', 'ct\1', era, seq, seq + 1)
local done = call('DEL', unpack(KEYS, 2))
call('SETRANGE', LANE, '8', string.sub(head, 16))
call('PUBLISH', ARGV[1], head .. string.sub(ARGV[2], 9))
return done > 0 and head .. done or head
