-- Begins another era where there is no lane to count on from.
if not stands then
  call('DEL', TABLE)
  era, cells = fresh, wanted
  before, seq, written, trusted, found = 0, math.max(now(), floor + 1), 0, trusted or 0, nil
  -- A state that is gone is not told from one that never was. Holds may have been planted under it: they stand for an hour at most.
  guarded = guarded or math.floor(now() / 1000) + 3600000
  told = struct.pack(SEQ, seq)
  run = this_run()
end
