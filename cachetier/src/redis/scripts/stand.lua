-- A tag's cells in a table of twice the size are those of the smaller one, or stand as far behind them as that was large: so the
-- larger table is the smaller one, repeated.
if cells < wanted then
  if written == 1 then
    local marks, old = HEAD + 8, call('GET', TABLE)
    local first = marks + 8 * math.ceil(cells / PAGE)
    call('SET', TABLE, table.concat({
      struct.pack(NAMED, 'ctt\1', wanted, era, HASHES),
      string.sub(old, HEAD + 1, marks),
      string.rep(string.sub(old, marks + 1, first), math.ceil(wanted / PAGE) / math.ceil(cells / PAGE)),
      string.rep(string.sub(old, first + 1), wanted / cells),
    }))
  end
  cells = wanted
end
kind = trusted == 0 and run > 0 and guarded == 0 and PLAIN or ANY
local state = struct.pack(STATE, kind, era, seq, cells, run, written, trusted, guarded)
if state ~= found then
  call('SET', LANE, state)
end
return { era, seq, math.floor(now() / 1000), cells, run }
