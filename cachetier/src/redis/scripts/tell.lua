-- Keeps the state, and tells everybody of the bump.
call('SET', KEYS[1], struct.pack(STATE, MAGIC, era, seq, cells, run, written, trusted))
call('PUBLISH', ARGV[5], struct.pack('>c3I4I8I8', 'ct\1', era, before, seq) .. body)
return { era, seq, done }
