-- Begins another era where there is no lane to count on from.
if not stands then
  call('DEL', TABLE)
  era, cells = struct.unpack('>I4I4', ARGV[1], 13)
  before, seq, written, trusted, found = 0, math.max(now(), floor + 1), 0, trusted or 0, nil
  -- A state that is gone is not told from one that never was. Holds may have been planted under it: they stand for an hour at most.
  guarded = guarded or math.floor(now() / 1000) + 3600000
  told = struct.pack(SEQ, seq)
  -- This life of the server's process, as a number: 0 where it may not be asked for.
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  run = id and tonumber(string.sub(id, 1, 12), 16) or 0
end
