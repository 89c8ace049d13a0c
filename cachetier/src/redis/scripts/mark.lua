-- Writes a bump into its places, and makes the table first if there is none: whole, so that its length tells whether it is the same.
if place then
  local first = 5
  if written == 0 then
    call('SET', TABLE, struct.pack(NAMED, 'ctt\1', cells, era, HASHES))
    call('SETRANGE', TABLE, length - 8, struct.pack(SEQ, 0))
    written, found, first = 1, nil, 4
  end
  for i = first, #ARGV do
    call('SETRANGE', TABLE, ARGV[i], told)
  end
end
