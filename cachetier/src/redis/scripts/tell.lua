-- Keeps the state, and tells everybody of the bump. Returns what the message begins with, and behind that how many, if any.
if found then
  call('SETRANGE', LANE, SEQ_AT, told)
else
  kind = trusted == 0 and run > 0 and guarded == 0 and PLAIN or ANY
  call('SET', LANE, struct.pack(STATE, kind, era, seq, cells, run, written, trusted, guarded))
end
local head = struct.pack('>c3I4I8', 'ct\1', era, before) .. told
call('PUBLISH', ARGV[2], head .. ARGV[3])
return done > 0 and head .. done or head
