-- Writes a bump's seq into the cells of ARGV[6], hashes of tags and prefixes, into the marks of their pages, and with ARGV[7] '1' into
-- the place of everything.
if #ARGV[6] > 0 or ARGV[7] == '1' then
  if written == 0 then
    call('SET', KEYS[2], struct.pack(NAMED, 'ctt\1', cells, era, HASHES))
    written = 1
  end
  local size, value, marks = math.min(cells, PAGE), struct.pack('>I8', seq), HEAD + 8
  local pages = cells / size
  for i = 1, #ARGV[6], 8 do
    local step, at = struct.unpack('>I4I4', ARGV[6], i)
    local page, cell = at % pages, math.floor(at / 1024)
    local first = marks + 8 * pages + 8 * size * page
    step = step + 1 - step % 2
    for n = 0, HASHES - 1 do
      call('SETRANGE', KEYS[2], first + 8 * ((cell + n * step) % size), value)
    end
    call('SETRANGE', KEYS[2], marks + 8 * page, value)
  end
  if ARGV[7] == '1' then
    call('SETRANGE', KEYS[2], HEAD, value)
  end
end
