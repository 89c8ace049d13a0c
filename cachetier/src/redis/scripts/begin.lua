-- Begins another era where there is no lane to count on from. Put before whatever writes a seq.
local before = seq
if not stands then
  call('DEL', KEYS[2])
  era, before, seq, cells, run = tonumber(ARGV[1]), 0, math.max(now(), floor + 1), tonumber(ARGV[4]), this_run()
  written, trusted = 0, trusted or 0
end
