-- Begins another era where there is no lane to count on from. Nothing of the state stays.
if not stands then
  call('DEL', TABLE)
  era, cells = struct.unpack('>I4I4', ARGV[1], 13)
  before, seq, written, trusted, found = 0, math.max(now(), floor + 1), 0, trusted or 0, nil
  -- Whoever knew another era has seen a state go, and with it until when holds stand: an hour is the longest.
  guarded = math.max(guarded or 0, struct.unpack('>I4', ARGV[1], 9) > 0 and math.floor(now() / 1000) + 3600000 or 0)
  told = struct.pack(SEQ, seq)
  -- This life of the server's process, as a number: 0 where it may not be asked for.
  local info = redis.pcall('INFO', 'server')
  local id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  run = id and tonumber(string.sub(id, 1, 12), 16) or 0
end
