-- Begins another era where there is no lane to count on from. Nothing of the state stays.
if not stands then
  call('DEL', TABLE)
  era, before, seq, cells, run, found = fresh, 0, math.max(now(), floor + 1), wanted, this_run(), nil
  written, trusted, told = 0, trusted or 0, struct.pack(SEQ, seq)
end
